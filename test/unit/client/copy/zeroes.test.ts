import * as crypto from 'node:crypto'
import t from 'tap'
import { findNonZero, zeroRuns, type Run } from '../../../../client/copy/zeroes.ts'
import { MiB } from '../../../helpers/files.ts'

/** As `zeroRuns`, byte by byte. */
function slowly(buffer: Buffer, length: number, offset: number, block: number): Run[] {
  const runs: Run[] = []
  for (let at = 0; at < length;) {
    const end = Math.min(length, at + block - ((offset + at) % block))
    const whole = end - at === block
    const zero = whole && buffer.subarray(at, end).every((byte) => byte === 0)
    const last = runs.at(-1)
    if (last?.zero === zero) last.end = end
    else runs.push({ start: at, end, zero })
    at = end
  }
  return runs
}

void t.test('zeroes - runs are those that looking at every byte finds', async (t) => {
  for (let round = 0; round < 200; round++) {
    const buffer = Buffer.alloc(20_000)
    for (let i = crypto.randomInt(8); i > 0; i--) buffer[crypto.randomInt(buffer.length)] = 1
    const length = crypto.randomInt(buffer.length + 1)
    const offset = crypto.randomInt(3) * 2 ** 45 + crypto.randomInt(3000)
    const block = 512 * 2 ** crypto.randomInt(4)
    t.same(
      zeroRuns(buffer, length, offset, block),
      slowly(buffer, length, offset, block),
      `${length} at ${offset} by ${block}`
    )
  }
})

void t.test('zeroes - one bit anywhere is data', async (t) => {
  for (let at = 0; at < 4096; at++) {
    const buffer = Buffer.alloc(4096)
    buffer[at] = 0x80
    if (zeroRuns(buffer, 4096, 0, 4096)[0]!.zero) t.fail(`at ${at}`)
    if (findNonZero(buffer, 4096) !== at) t.fail(`is not found at ${at}`)
  }
  t.same(zeroRuns(Buffer.alloc(4096), 4096, 0, 4096), [{ start: 0, end: 4096, zero: true }])
})

void t.test('zeroes - the first byte that is not zero is found in what is long', async (t) => {
  const buffer = Buffer.alloc(3 * MiB)
  t.equal(findNonZero(buffer, buffer.length), -1)
  buffer[2 * MiB + 77] = 1
  t.equal(findNonZero(buffer, buffer.length), 2 * MiB + 77)
  t.equal(findNonZero(buffer, 2 * MiB + 77), -1, 'behind the length nothing is looked at')
  t.equal(findNonZero(buffer, 0), -1)
})
