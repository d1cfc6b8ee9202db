import t from 'tap'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_ENOSPC,
  NBD_ENOTSUP
} from '../helpers/raw-constants.ts'
import { program, requires } from '../helpers/requires.ts'
import { MiB } from '../helpers/raw-wire.ts'

for (const structured of [false, true]) {
  void t.test(
    `R32 - a file that may not grow further (EFBIG) is NBD_ENOSPC, structured: ${structured}`,
    requires('prlimit'),
    async (t) => {
      const under = [program('prlimit'), `--fsize=${MiB}`]
      const server = await Mqnbd.serve(t, [emptyImage(t, 8 * MiB)], { under })
      const client = await RawClient.transmit(t, server, { structured })
      for (const length of [512, 2 * MiB]) {
        const { error } = await client.call({
          type: NBD_CMD_WRITE,
          offset: 4 * MiB,
          payload: Buffer.alloc(length, 1)
        })
        t.equal(error, NBD_ENOSPC, `${length} bytes`)
      }
      t.equal((await client.call({ type: NBD_CMD_WRITE, payload: Buffer.alloc(512, 1) })).error, 0)
      t.equal((await client.call({ type: NBD_CMD_READ, offset: 4 * MiB, length: 512 })).error, 0)
    }
  )
}

void t.test('R32 - ENOTSUP answers FAST_ZERO only', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const client = await RawClient.transmit(t, server)
  for (const flags of [0, NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_FAST_ZERO]) {
    const { error } = await client.call({ type: NBD_CMD_WRITE_ZEROES, flags, length: 4096 })
    t.ok(
      error === 0 || (error === NBD_ENOTSUP && flags === NBD_CMD_FLAG_FAST_ZERO),
      `flags ${flags}: ${error}`
    )
  }
})
