/** `--discard` and `--detect-zeroes`: what is written takes as much of the disk as with qemu-nbd, from 9.1 on. */
import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { allocatedBytes, imageOf, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { requiresNewer, serveNewerQemuNbd } from '../helpers/newer-debian.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { requires } from '../helpers/requires.ts'

const SIZE = 8 * MiB

/** Each at its own place, with what it leaves there: zeroes, or else the pattern. */
const steps = [
  { command: 'discard', length: MiB, pattern: undefined },
  { command: 'write -z -u', length: MiB, pattern: 0 },
  { command: 'write -z', length: MiB, pattern: 0 },
  { command: 'write -P 0', length: MiB, pattern: 0 },
  { command: 'write -P 0', length: 64 * KiB, pattern: 0 },
  { command: 'write -f -P 0', length: 128 * KiB, pattern: 0 },
  { command: 'write -P 7', length: 128 * KiB, pattern: 7 }
]

/** How much each step gives back. */
async function freed(t: Test, image: string, uri: string): Promise<number[]> {
  const expected = fs.readFileSync(image)
  const fd = fs.openSync(image, 'r')
  const all: number[] = []
  for (const [i, { command, length, pattern }] of steps.entries()) {
    const offset = i * MiB
    fs.fsyncSync(fd)
    const before = allocatedBytes(image)
    await qemuIo(t, uri, `${command} ${offset} ${length}`, 'flush')
    if (pattern === undefined) fs.readSync(fd, expected, offset, length, offset)
    else expected.fill(pattern, offset, offset + length)
    t.ok(fs.readFileSync(image).equals(expected), `${command} ${length}: there, and nothing else has changed`)
    fs.fsyncSync(fd)
    all.push(Math.round((before - allocatedBytes(image)) / (64 * KiB)) * 64)
  }
  fs.closeSync(fd)
  return all
}

const policies = [
  { discard: 'ignore', detect: 'off', gives: [0, 0, 0, 0, 0, 0, 0] },
  { discard: 'off', detect: 'on', gives: [0, 0, 0, 0, 0, 0, 0] },
  { discard: 'unmap', detect: 'off', gives: [1024, 1024, 0, 0, 0, 0, 0] },
  { discard: 'unmap', detect: 'on', gives: [1024, 1024, 0, 0, 0, 0, 0] },
  { discard: 'on', detect: 'unmap', gives: [1024, 1024, 0, 1024, 64, 128, 0] }
]

for (const { discard, detect, gives } of policies) {
  const name = `discard=${discard}, detect-zeroes=${detect} - as with qemu-nbd`
  void t.test(name, { ...requires('qemu-io'), ...requiresNewer('qemu-nbd') }, async (t) => {
    const bytes = crypto.randomBytes(SIZE)
    const options = [`--discard=${discard}`, `--detect-zeroes=${detect}`]
    const other = await serveNewerQemuNbd(t, SIZE, options)
    const theirs = path.join(other.folder.outside, 'image')
    fs.writeFileSync(theirs, bytes, { flag: 'r+' })
    t.strictSame(await freed(t, theirs, other.uri), gives, 'KiB that qemu-nbd gives back')
    const ours = imageOf(t, bytes)
    const { uri } = await Mqnbd.serve(t, ['-f', 'raw', ...options, ours])
    t.strictSame(await freed(t, ours, uri), gives, 'KiB that mqnbd gives back')
    const word = discard === 'ignore' || discard === 'off' ? 'ignore' : 'unmap'
    const named = imageOf(t, bytes)
    const node = `file,node-name=a,filename=${named},discard=${word},detect-zeroes=${detect}`
    const graph = await Mqnbd.serve(t, [
      '--blockdev',
      node,
      '--export',
      'nbd,id=e,node-name=a,name=,writable=on'
    ])
    t.strictSame(await freed(t, named, graph.uri), gives, 'KiB that a node gives back')
  })
}
