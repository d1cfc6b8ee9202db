import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { endpoints } from '../helpers/endpoints.ts'
import { imageOf, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { requires } from '../helpers/requires.ts'

const SIZE = 8 * MiB + 513

for (const [where, address] of Object.entries(endpoints)) {
  const peers = requires('qemu-io')

  void t.test(`qemu-io - patterns, aligned or not, ${where}`, peers, async (t) => {
    const expected = crypto.randomBytes(SIZE)
    const image = imageOf(t, expected)
    const server = await Mqnbd.serve(t, [image, ...address])
    const writes: [pattern: number, offset: number, length: number][] = [
      [0x11, 0, 64 * KiB],
      [0x22, 1, 1],
      [0x33, 511, 1026],
      [0x44, 100_003, 77_777],
      [0x55, 3 * MiB - 7, MiB + 14],
      [0x66, 5 * MiB, 2 * MiB],
      [0x77, SIZE - 1, 1],
      [0x88, SIZE - 700, 300]
    ]
    for (const [pattern, offset, length] of writes) expected.fill(pattern, offset, offset + length)
    await qemuIo(
      t,
      server.uri,
      ...writes.map(([pattern, offset, length]) => `write -P ${pattern} ${offset} ${length}`),
      'read -P 0x22 1 1',
      'read -P 0x33 511 1026',
      'read -P 0x44 100003 77777',
      `read -P 0x77 ${SIZE - 1} 1`,
      'flush'
    )
    t.ok(fs.readFileSync(image).equals(expected), 'the file is what was written')
  })

  void t.test(`qemu-io - vectors, and many requests in flight, ${where}`, peers, async (t) => {
    const expected = crypto.randomBytes(SIZE)
    const image = imageOf(t, expected)
    const server = await Mqnbd.serve(t, [image, ...address])
    const inFlight: string[] = []
    for (let i = 0; i < 200; i++) {
      const [offset, length] = [i * 40_001, 1000 + i * 190]
      inFlight.push(`aio_write -P ${i} ${offset} ${length}`)
      expected.fill(i, offset, offset + length)
    }
    expected.fill(0xee, 8 * MiB - 10_000, 8 * MiB - 10_000 + 512 + 3 + 4096)
    await qemuIo(
      t,
      server.uri,
      ...inFlight,
      'aio_flush',
      `writev -P 0xee ${8 * MiB - 10_000} 512 3 4096`,
      `readv -P 0xee ${8 * MiB - 10_000} 1000 3000`,
      'aio_flush'
    )
    t.ok(fs.readFileSync(image).equals(expected), 'the file is what was written')
  })
}

void t.test('qemu-io - FUA and flush', requires('qemu-io'), async (t) => {
  const expected = Buffer.alloc(SIZE)
  const image = imageOf(t, expected)
  const server = await Mqnbd.serve(t, [image])
  expected.fill(0x5a, 1000, 1000 + 70_000)
  expected.fill(0xa5, MiB, MiB + 512)
  await qemuIo(
    t,
    server.uri,
    'write -f -P 0x5a 1000 70000',
    'write -f -P 0xa5 1M 512',
    'flush',
    'read -P 0x5a 1000 70000'
  )
  t.ok(fs.readFileSync(image).equals(expected), 'the file is what was written')
})

void t.test('qemu-io - beyond the end', requires('qemu-io'), async (t) => {
  const bytes = crypto.randomBytes(64 * KiB)
  const image = imageOf(t, bytes)
  const server = await Mqnbd.serve(t, [image])
  await t.rejects(qemuIo(t, server.uri, 'write -P 1 65535 2'), 'a write')
  await t.rejects(qemuIo(t, server.uri, 'read 64k 1'), 'a read')
  t.ok(fs.readFileSync(image).equals(bytes), 'nothing was changed')
  t.equal(fs.statSync(image).size, 64 * KiB, 'and the file is no longer')
})
