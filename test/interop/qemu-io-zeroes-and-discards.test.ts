import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { allocatedBytes, imageOf, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { requires } from '../helpers/requires.ts'

const SIZE = 16 * MiB

/** Each makes zeroes of a part that was random, and gives disk space back, or does not. */
const steps = [
  { what: 'zeroes that stay allocated', command: 'write -z', offset: 0, length: MiB, freed: 0 },
  { what: 'zeroes that may become a hole', command: 'write -z -u', offset: 2 * MiB, length: MiB, freed: MiB },
  { what: 'zeroes with FUA', command: 'write -z -u -f', offset: 3 * MiB, length: MiB, freed: MiB },
  { what: 'zeroes fast or not at all', command: 'write -z -u -n', offset: 4 * MiB, length: MiB, freed: MiB },
  { what: 'zeroes at odd places', command: 'write -z', offset: 5_250_001, length: 1_333_333, freed: 0 },
  { what: 'a hole at odd places', command: 'write -z -u', offset: 7_340_033, length: MiB, freed: MiB },
  { what: 'a zero', command: 'write -z -u', offset: 9 * MiB + 1, length: 1, freed: 0 },
  { what: 'a discard', command: 'discard', offset: 10 * MiB, length: 2 * MiB, freed: 2 * MiB },
  { what: 'zeroes of what is a hole', command: 'write -z -u', offset: 10 * MiB, length: MiB, freed: 0 }
]

void t.test('qemu-io - zeroes and discards', requires('qemu-io'), async (t) => {
  const expected = crypto.randomBytes(SIZE)
  const image = imageOf(t, expected)
  const fd = fs.openSync(image, 'r')
  t.teardown(() => fs.closeSync(fd))
  const server = await Mqnbd.serve(t, [image])

  for (const { what, command, offset, length, freed } of steps) {
    // Space is accounted for when it is used, at the latest.
    fs.fsyncSync(fd)
    const before = allocatedBytes(image)
    await qemuIo(t, server.uri, `${command} ${offset} ${length}`, `read -P 0 ${offset} ${length}`, 'flush')
    expected.fill(0, offset, offset + length)
    t.ok(fs.readFileSync(image).equals(expected), `${what}: there, and nothing else has changed`)
    const less = before - allocatedBytes(image)
    t.ok(Math.abs(less - freed) <= 128 * KiB, `${what}: ${less} bytes were freed, of about ${freed}`)
  }

  await qemuIo(t, server.uri, `write -z -u 0 ${SIZE}`)
  t.ok(fs.readFileSync(image).equals(Buffer.alloc(SIZE)), 'zeroes of everything')
  t.ok(allocatedBytes(image) <= 64 * KiB, 'leave nothing allocated')
})

void t.test('qemu-io - discard of everything', requires('qemu-io'), async (t) => {
  const image = imageOf(t, crypto.randomBytes(SIZE))
  const server = await Mqnbd.serve(t, [image])
  await qemuIo(t, server.uri, `discard 0 ${SIZE}`, `read -P 0 0 ${SIZE}`)
  t.ok(allocatedBytes(image) <= 64 * KiB, 'leaves nothing allocated')
  t.equal(fs.statSync(image).size, SIZE, 'the image has kept its size')
})
