import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { flood } from '../helpers/raw-flood.ts'
import { KiB, request } from '../helpers/raw-wire.ts'
import { within } from '../helpers/wait-for.ts'

/** Far longer than serving one request takes on a busy machine. */
const PATIENCE_MS = 5000

const floods = {
  'READs of no bytes': request({ type: NBD_CMD_READ, length: 0 }),
  'READs of 512 bytes': request({ type: NBD_CMD_READ, length: 512 }),
  'WRITEs of 64 KiB': request({ type: NBD_CMD_WRITE, payload: Buffer.alloc(64 * KiB) }),
  'refused requests': request({ type: 99 })
}

for (const [what, one] of Object.entries(floods)) {
  void t.test(
    `fairness - a client that sends ${what} without a pause starves no other of its thread`,
    async (t) => {
      const server = await Mqnbd.serve(t, ['memory:64M', '--iothreads', '1'])
      const other = await RawClient.transmit(t, server)
      const batch = Buffer.concat(Array<Buffer>(Math.ceil((256 * KiB) / one.length)).fill(one))
      const end = flood(t, await RawClient.transmit(t, server), batch)
      for (let i = 0; i < 20; i++) {
        t.equal((await within('READ', other.call({ type: NBD_CMD_READ, length: 512 }), PATIENCE_MS)).error, 0)
        t.equal((await within('FLUSH', other.call({ type: NBD_CMD_FLUSH }), PATIENCE_MS)).error, 0)
      }
      const late = await within('a new connection', RawClient.transmit(t, server), PATIENCE_MS)
      t.equal((await late.call({ type: NBD_CMD_READ, length: 1 })).error, 0)
      await end()
    }
  )
}
