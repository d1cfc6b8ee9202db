import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC
} from '../helpers/raw-constants.ts'
import { MiB, type RawRequest } from '../helpers/raw-wire.ts'

const SIZE = BigInt(MiB) + 3n
const server = await Mqnbd.serve(t, ['memory:4M', '--size', String(SIZE), '-o', '512'])

const commands = {
  READ: { type: NBD_CMD_READ, beyond: NBD_EINVAL },
  WRITE: { type: NBD_CMD_WRITE, beyond: NBD_ENOSPC },
  TRIM: { type: NBD_CMD_TRIM, beyond: NBD_EINVAL },
  CACHE: { type: NBD_CMD_CACHE, beyond: NBD_EINVAL },
  WRITE_ZEROES: { type: NBD_CMD_WRITE_ZEROES, beyond: NBD_ENOSPC },
  BLOCK_STATUS: { type: NBD_CMD_BLOCK_STATUS, beyond: NBD_EINVAL }
}

const ranges: [bigint, number, boolean][] = [
  [0n, Number(SIZE), true],
  [SIZE - 1n, 1, true],
  [SIZE - 512n, 512, true],
  [0n, Number(SIZE) + 1, false],
  [SIZE - 1n, 2, false],
  [SIZE, 1, false],
  [SIZE + 1n, 1, false],
  [1n << 32n, 512, false],
  [(1n << 53n) - 1n, 1, false],
  [1n << 53n, 1, false],
  [(1n << 53n) + 1n, 1, false],
  [(1n << 63n) - 1n, 2, false],
  [1n << 63n, 2, false],
  // These wrap around to an offset inside the export.
  [(1n << 64n) - 1n, 1, false],
  [(1n << 64n) - 1n, 2, false],
  [(1n << 64n) - 512n, 1024, false]
]

for (const [name, { type, beyond }] of Object.entries(commands)) {
  for (const structured of [false, true]) {
    // BLOCK_STATUS needs structured replies.
    if (type === NBD_CMD_BLOCK_STATUS && !structured) continue
    const form = structured ? 'structured' : 'simple'
    void t.test(
      `R23 - ${name} up to the end is served, and beyond it refused by its own error, ${form}`,
      async (t) => {
        const meta = structured ? { meta: ['base:allocation'] } : {}
        const client = await RawClient.transmit(t, server, meta)
        for (const [offset, length, inside] of ranges) {
          const payload = type === NBD_CMD_WRITE ? { payload: Buffer.alloc(length) } : {}
          const asked: RawRequest = { type, offset, length, cookie: offset, ...payload }
          const reply = await client.call(asked)
          t.equal(reply.error, inside ? 0 : beyond, `${length} bytes at ${offset}: ${reply.message}`)
          t.equal(reply.cookie, offset)
        }
      }
    )
  }
}

void t.test('R23 - effect lengths up to 0xffffffff at the end are refused, too', async (t) => {
  const client = await RawClient.transmit(t, server, { meta: ['base:allocation'] })
  for (const { type, beyond } of Object.values(commands)) {
    if (type === NBD_CMD_WRITE) continue
    for (const offset of [0n, 1n, SIZE, (1n << 64n) - 1n, 0xffffffff00000001n]) {
      const { error } = await client.call({ type, offset, length: 0xffffffff })
      t.equal(error, beyond, `command ${type} at ${offset}`)
    }
  }
})

void t.test('R23 - a refused WRITE or WRITE_ZEROES changes no byte of the export', async (t) => {
  const client = await RawClient.transmit(t, server)
  const payload = Buffer.alloc(Number(SIZE), 0x5a)
  t.equal((await client.call({ type: NBD_CMD_WRITE, payload })).error, 0)
  await client.call({ type: NBD_CMD_WRITE, offset: SIZE - 1n, payload: Buffer.alloc(2) })
  await client.call({ type: NBD_CMD_WRITE, offset: (1n << 64n) - 1n, payload: Buffer.alloc(2) })
  await client.call({ type: NBD_CMD_WRITE_ZEROES, offset: SIZE - 10n, length: 11 })
  await client.call({ type: NBD_CMD_TRIM, offset: SIZE - 4096n, length: 4097 })
  const { data } = await client.call({ type: NBD_CMD_READ, length: Number(SIZE) })
  t.ok(data.equals(payload))
})
