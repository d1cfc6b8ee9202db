import t from 'tap'
import { emptyImage, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_OPT_INFO
} from '../helpers/raw-constants.ts'
import { KiB } from '../helpers/raw-wire.ts'

const SIZE = 1_000_003
const OFFSET = 777
const image = emptyImage(t, SIZE + OFFSET + 10)
const server = await Mqnbd.serve(t, [image, '-f', 'raw', '-o', String(OFFSET), '--size', String(SIZE)])

/** The same numbers every time: a failure can be looked at again. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    yield state >>> 8
  }
}

void t.test('R27 - any offset and length works, to the byte, as in an array', async (t) => {
  const client = await RawClient.transmit(t, server)
  const model = Buffer.alloc(SIZE)
  const random = numbers(42)
  const next = (below: number): number => random.next().value % below
  for (let i = 0; i < 400; i++) {
    const offset = next(SIZE)
    const length = Math.min(SIZE - offset, 1 + next([10, 600, 5000, 200 * KiB][next(4)]!))
    const what = next(3)
    if (what === 0) {
      const payload = Buffer.alloc(length, i + 1)
      payload.copy(model, offset)
      t.equal((await client.call({ type: NBD_CMD_WRITE, offset, payload })).error, 0)
    } else if (what === 1) {
      model.fill(0, offset, offset + length)
      t.equal((await client.call({ type: NBD_CMD_WRITE_ZEROES, offset, length })).error, 0)
    }
    const start = Math.max(0, offset - 3)
    const { data } = await client.call({
      type: NBD_CMD_READ,
      offset: start,
      length: Math.min(SIZE - start, length + 6)
    })
    if (!data.equals(model.subarray(start, start + data.length)))
      t.fail(`step ${i}: ${length} bytes at ${offset}`)
  }
  t.ok((await client.call({ type: NBD_CMD_READ, length: SIZE })).data.equals(model))
  t.ok(readAt(image, OFFSET, SIZE).equals(model), 'the file has the same, where it should')
  t.ok(readAt(image, 0, OFFSET).equals(Buffer.alloc(OFFSET)), 'nothing in front of it')
  t.ok(readAt(image, OFFSET + SIZE, 10).equals(Buffer.alloc(10)), 'nothing behind it')
})

void t.test('R27 - the block sizes that are told obey the specification', async (t) => {
  const client = await RawClient.negotiate(t, server)
  const { size, infos } = await client.go('', [NBD_INFO_BLOCK_SIZE], NBD_OPT_INFO)
  const sizes = infos.get(NBD_INFO_BLOCK_SIZE)!
  const [min, preferred, max] = [sizes.readUInt32BE(0), sizes.readUInt32BE(4), sizes.readUInt32BE(8)]
  const isPowerOfTwo = (value: number): boolean => Number.isInteger(Math.log2(value))
  t.ok(isPowerOfTwo(min) && min <= 65536, `minimum ${min}`)
  t.ok(isPowerOfTwo(preferred) && preferred >= Math.max(min, 512), `preferred ${preferred}`)
  t.ok(max >= preferred && max >= 1 << 20, `maximum ${max}`)
  t.equal(size % BigInt(min), 0n)
})
