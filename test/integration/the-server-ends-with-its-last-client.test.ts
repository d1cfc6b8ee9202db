import * as fs from 'node:fs'
import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_DISC, NBD_OPT_ABORT, NBD_OPT_LIST } from '../helpers/raw-constants.ts'
import { option, request } from '../helpers/raw-wire.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

async function disconnect(client: RawClient): Promise<void> {
  client.send(request({ type: NBD_CMD_DISC }))
  await client.closed()
}

/** Leaves without having chosen an export. */
async function lookAround(visitor: RawClient): Promise<void> {
  visitor.send(option(NBD_OPT_ABORT))
  await visitor.closed()
}

void t.test('without -t - the server ends when the last client has gone, with 0', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'], { once: true })
  const [one, two] = [await RawClient.transmit(t, server), await RawClient.transmit(t, server)]
  await disconnect(one)
  await t.resolves(RawClient.transmit(t, server).then(disconnect), 'another may come while one is left')
  await disconnect(two)
  t.same(await within('the end', server.process.exit), { status: 0, signal: null })
  t.notOk(fs.existsSync(server.socket!), 'without its socket')
  t.equal(server.process.stderr, '')
})

void t.test('without -t - a client that vanishes was one, too', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'], { once: true })
  const client = await RawClient.transmit(t, server)
  client.socket.destroy()
  t.same(await within('the end', server.process.exit), { status: 0, signal: null })
})

void t.test('without -t - who only looks around does not count', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '--log-level', 'info'], { once: true })
  await lookAround(await RawClient.negotiate(t, server))
  const scanner = await RawClient.connect(t, server)
  scanner.socket.destroy()
  await server.process.output('stderr', /(client disconnected[^]*){2}/)
  await t.resolves(RawClient.transmit(t, server).then(disconnect))
  t.same(await within('the end', server.process.exit), { status: 0, signal: null })
})

void t.test('without -t - who only looks around holds the server up no longer than that', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '--log-level', 'info'], { once: true })
  const visitor = await RawClient.negotiate(t, server)
  await disconnect(await RawClient.transmit(t, server))
  await server.process.output('stderr', /client disconnected/)
  await visitor.ask(NBD_OPT_LIST)
  await lookAround(visitor)
  t.same(await within('the end', server.process.exit), { status: 0, signal: null })
})

void t.test('with -t - the server goes on', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const sockets = openSockets(server.process.pid)
  for (let i = 0; i < 3; i++) await disconnect(await RawClient.transmit(t, server))
  await waitFor('all to be gone', () => openSockets(server.process.pid) === sockets)
  await t.resolves(RawClient.transmit(t, server).then(disconnect))
  t.same(await server.process.end(), { status: 0, signal: null }, 'until it is told to end')
})
