import t from 'tap'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_DISC, NBD_CMD_READ, NBD_FLAG_CAN_MULTI_CONN } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import { program, requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

void t.test('-e 1 - the second client waits until the first has gone', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-e', '1', '--iothreads', '2'])
  const sockets = openSockets(server.process.pid)
  const first = await RawClient.transmit(t, server)
  const second = await RawClient.connect(t, server)
  const served = second.handshake()
  await waitFor('the second to be accepted', () => openSockets(server.process.pid) === sockets + 2)
  for (let i = 0; i < 20; i++) await first.call({ type: NBD_CMD_READ, length: 4096 })
  t.equal(second.pending, 0, 'it has not been greeted')

  first.send(request({ type: NBD_CMD_DISC }))
  await first.closed()
  await t.resolves(within('the second to be greeted', served))
  t.equal((await second.go('')).flags & NBD_FLAG_CAN_MULTI_CONN, 0, 'CAN_MULTI_CONN is not promised')
})

void t.test('-e 1 - a waiting client that leaves is forgotten', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-e', '1'])
  const sockets = openSockets(server.process.pid)
  const first = await RawClient.transmit(t, server)
  for (let i = 0; i < 5; i++) (await RawClient.connect(t, server)).socket.destroy()
  const last = await RawClient.connect(t, server)
  first.socket.destroy()
  await t.resolves(last.handshake())
  last.socket.destroy()
  await waitFor('all to be gone', () => openSockets(server.process.pid) === sockets)
})

void t.test('-e 2 - CAN_MULTI_CONN is promised', requires('nbdinfo'), async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-e', '2'])
  await t.resolves(runOk(t, program('nbdinfo'), ['--can', 'multi-conn', server.uri]))
})

void t.test('-e 1 - ends with a client that waits', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-e', '1'])
  const sockets = openSockets(server.process.pid)
  await RawClient.transmit(t, server)
  const second = await RawClient.connect(t, server)
  await waitFor('the second to be accepted', () => openSockets(server.process.pid) === sockets + 2)
  t.same(await server.process.end(), { status: 0, signal: null })
  await t.resolves(second.closed())
})
