import t from 'tap'
import { Bystander } from '../helpers/bystander.ts'
import { endpoints } from '../helpers/endpoints.ts'
import { KiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY
} from '../helpers/raw-constants.ts'
import { infoPayload, metaPayload, option, request, u32 } from '../helpers/raw-wire.ts'
import { waitFor } from '../helpers/wait-for.ts'

/** All that a client says until it has read something. */
const conversation = Buffer.concat([
  u32(3),
  option(NBD_OPT_STRUCTURED_REPLY),
  option(NBD_OPT_LIST),
  option(NBD_OPT_SET_META_CONTEXT, metaPayload('disk', ['base:allocation'])),
  option(NBD_OPT_INFO, infoPayload('disk', [1, 2, 3])),
  option(NBD_OPT_GO, infoPayload('disk')),
  request({ type: NBD_CMD_READ, length: 100 * KiB })
])

/** Ways to go: a reset where there is one, the end of the stream, both directions closed. */
const exits: ((client: RawClient) => void)[] = [
  ({ socket }) => (socket.remoteAddress === undefined ? socket.destroy() : socket.resetAndDestroy()),
  ({ socket }) => socket.end(),
  ({ socket }) => socket.destroy()
]

for (const [where, address] of Object.entries(endpoints)) {
  void t.test(`negotiation - cut at each of its bytes, ${where}`, async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk', '--iothreads', '2', ...address])
    const bystander = await Bystander.start(t, server)
    const sockets = openSockets(server.process.pid)
    for (let length = 0; length <= conversation.length; length++) {
      const client = await RawClient.connect(t, server)
      // Every other one goes before the server's greeting has been read.
      if (length % 2 === 0) await client.read(18)
      if (length > 0) await client.sent(conversation.subarray(0, length))
      exits[length % exits.length]!(client)
    }
    await waitFor('the server to let go', () => openSockets(server.process.pid) === sockets)
    await t.resolves(bystander.goesOn(), `${conversation.length} clients have come and gone`)
    await bystander.stop()
    t.same(await server.process.end(), { status: 0, signal: null })
    t.equal(server.process.stderr, '', 'and that was no news')
  })
}
