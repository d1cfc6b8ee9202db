import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { BlockSamples } from '../../../../shared/syscall/block-samples.ts'
import { KiB, MiB } from '../../../helpers/files.ts'

const openFds = (): number => fs.readdirSync('/proc/self/fd').length

function fileWith(t: Test, bytes: Buffer): number {
  const file = path.join(t.testdir(), 'file')
  fs.writeFileSync(file, bytes)
  const fd = fs.openSync(file, 'r+')
  t.teardown(() => fs.closeSync(fd))
  return fd
}

function zeroes(samples: BlockSamples, fd: number, offset: number, length: number): number[] | undefined {
  const found: number[] = []
  return samples.zeroes(fd, offset, length, (at) => found.push(at)) ? found : undefined
}

for (const block of [4 * KiB, 64 * KiB, MiB])
  void t.test(
    `BlockSamples - blocks of ${block} that begin with zeroes, beyond what is mapped at a time`,
    (t) => {
      const count = Math.max((6 * MiB) / block, 20)
      const bytes = crypto.randomBytes(count * block)
      const all = Array.from({ length: count }, (_, i) => i * block)
      // Of each eight bytes in turn, one is something else, and in the last case none.
      const kinds = 9
      for (const [i, at] of all.entries()) {
        bytes.fill(0, at, at + 8)
        if (i % kinds < 8) bytes[at + (i % kinds)] = 1
      }
      const samples = new BlockSamples(block)
      const fd = fileWith(t, bytes)
      const expected = all.filter((_, i) => i % kinds === 8)
      t.strictSame(zeroes(samples, fd, 0, bytes.length), expected)
      const [from, to] = [block, bytes.length - block]
      t.strictSame(
        zeroes(samples, fd, from, to - from),
        expected.filter((at) => at >= from && at < to)
      )
      samples.close()
      t.end()
    }
  )

void t.test('BlockSamples - a file that has become shorter is an answer, not the end of the process', (t) => {
  const samples = new BlockSamples(4096)
  const fd = fileWith(t, crypto.randomBytes(MiB))
  t.strictSame(zeroes(samples, fd, 0, MiB), [])
  fs.ftruncateSync(fd, 512 * KiB)
  t.equal(zeroes(samples, fd, 0, MiB), undefined)
  t.equal(zeroes(samples, fd, 8 * MiB, MiB), undefined)
  t.strictSame(zeroes(samples, fd, 0, 512 * KiB), [], 'what is left can be looked at')
  samples.close()
  t.end()
})

void t.test('BlockSamples - what cannot be mapped', (t) => {
  const samples = new BlockSamples(4096)
  const proc = fs.openSync('/proc/self/stat', 'r')
  t.equal(zeroes(samples, proc, 0, 4096), undefined)
  fs.closeSync(proc)
  samples.close()
  t.end()
})

void t.test('BlockSamples - gives everything back', (t) => {
  const fd = fileWith(t, crypto.randomBytes(MiB))
  const before = openFds()
  const name = fs.readlinkSync(`/proc/self/fd/${fd}`)
  const mappings = (): number => fs.readFileSync('/proc/self/maps', 'utf8').split(name).length - 1
  for (let i = 0; i < 3; i++) {
    const samples = new BlockSamples(4096)
    zeroes(samples, fd, 0, MiB)
    t.equal(mappings(), 1)
    samples.close()
  }
  t.equal(openFds(), before)
  t.equal(mappings(), 0)
  t.end()
})
