import t, { type Test } from 'tap'
import { openImage } from '../../shared/block/index.ts'
import { NBDServer } from '../../server/index.ts'
import { Bystander } from '../helpers/bystander.ts'
import { openSockets, waitsByThread } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_OPT_LIST } from '../helpers/raw-constants.ts'
import { IN_EFFECT } from '../helpers/raw-entry-points.ts'
import { serveBound, type Bound } from '../helpers/raw-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

const REQUESTS = 300

/** Which of the server's threads, by number, are at work while each client sends requests one by one. */
async function atWork({ threads }: Bound, clients: RawClient[]): Promise<number[]> {
  // A thread that polls would not wait for each request.
  for (const thread of threads) await thread.set({ 'poll-max-ns': 0 })
  const before = waitsByThread(process.pid)
  for (const client of clients) {
    for (let i = 0; i < REQUESTS; i++) await client.call({ type: NBD_CMD_READ, length: 512 })
  }
  const after = waitsByThread(process.pid)
  return threads.flatMap((thread, number) => {
    const tid = thread.info()['thread-id']
    return after.get(tid)! - before.get(tid)! > REQUESTS / 2 ? [number] : []
  })
}

/** Clients of an export, each in the thread where it stays. */
async function connect(t: Test, server: Bound, name: string, count: number): Promise<RawClient[]> {
  const clients: RawClient[] = []
  for (let i = 0; i < count; i++) {
    const client = await RawClient.transmit(t, server, { name })
    // When a request is answered, the hand-over is over.
    await client.call({ type: NBD_CMD_READ, length: 512 })
    clients.push(client)
  }
  return clients
}

void t.test('iothreads - each export is served in its own threads, whoever negotiates', async (t) => {
  const server = await serveBound(t, 4, { a: [0], b: [1], c: [2, 3] })
  for (const [name, expected] of Object.entries({ a: [0], b: [1], c: [2, 3] })) {
    const clients = await connect(t, server, name, 4)
    t.same(await atWork(server, clients), expected, `export ${name}`)
  }
})

void t.test('iothreads - two exports on one thread', async (t) => {
  const server = await serveBound(t, 2, { a: [1], b: [1] })
  const clients = [...(await connect(t, server, 'a', 2)), ...(await connect(t, server, 'b', 2))]
  t.same(await atWork(server, clients), [1])
})

void t.test('iothreads - the least loaded thread of the set gets the next client', async (t) => {
  const server = await serveBound(t, 3, { a: [0, 1], b: [1, 2] })
  // Whichever thread of its set each has got, six clients of `a` are three on each.
  await connect(t, server, 'a', 6)
  const ofB = await connect(t, server, 'b', 3)
  t.same(await atWork(server, ofB), [2], 'clients of b go to the thread without clients of a')
})

void t.test('iothreads - every thread lists all exports', async (t) => {
  const server = await serveBound(t, 3, { a: [0], b: [1], c: [2] })
  for (let i = 0; i < 6; i++) {
    const client = await RawClient.negotiate(t, server)
    const names = (await client.ask(NBD_OPT_LIST))
      .slice(0, -1)
      .map(({ payload }) => payload.toString('utf8', 4))
    t.same(names, ['a', 'b', 'c'])
  }
})

void t.test(
  'iothreads - an export that comes later is known to all threads, and its thread knows all',
  async (t) => {
    const server = await serveBound(t, 1, { a: [0] })
    const held = await connect(t, server, 'a', 1)
    await server.server.addExport(await openImage({ image: 'memory:2M' }), { name: 'late' })
    for (let i = 0; i < 4; i++) {
      for (const name of ['a', 'late']) {
        const client = await RawClient.negotiate(t, server)
        const { size } = await client.go(name)
        t.equal(size, name === 'a' ? 1n << 20n : 2n << 20n)
        t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).error, 0)
      }
    }
    t.equal((await held[0]!.call({ type: NBD_CMD_READ, length: 512 })).error, 0)
  }
)

void t.test('iothreads - properties change while a thread serves', async (t) => {
  const server = await serveBound(t, 1, { a: [0] })
  const [thread] = server.threads
  const bystander = await Bystander.start(t, server, 0, 'a')
  for (const [pollMaxNs, pollGrow] of [
    [0, 0],
    [1_000_000, 4],
    [32768, 2]
  ] as const) {
    await thread!.set({ 'poll-max-ns': pollMaxNs, 'poll-grow': pollGrow })
    const { polling } = await thread!.run(IN_EFFECT, undefined)
    t.match(polling, { pollMaxNs, pollGrow })
    await bystander.goesOn()
  }
  await bystander.stop()
})

void t.test('iothreads - serve several servers of one process, and outlive each', async (t) => {
  const one = await serveBound(t, 1, { a: [0] })
  const other = await NBDServer.start()
  t.teardown(() => other.close(0))
  const iothreads = one.threads
  await other.addExport(await openImage({ image: 'memory:3M' }), { name: 'a', iothreads })
  const { port } = await other.listen({ host: '127.0.0.1', port: 0 })
  const there = { socket: undefined, uri: `nbd://127.0.0.1:${port}` }
  t.equal((await (await RawClient.negotiate(t, one)).go('a')).size, 1n << 20n)
  const client = await RawClient.negotiate(t, there)
  t.equal((await client.go('a')).size, 3n << 20n)

  const bystander = await Bystander.start(t, one, 0, 'a')
  await other.close(1000)
  await client.closed()
  await t.resolves(bystander.goesOn(), 'the other server goes on')
  await bystander.stop()
  t.equal(iothreads[0]!.fault, undefined)
})

void t.test('addExport - refuses what cannot be, and the node stays the caller’s', async (t) => {
  const { server, threads } = await serveBound(t, 1, { a: [0] })
  const node = await openImage({ image: 'memory:1M', readOnly: true })
  t.teardown(() => node.close())
  await t.rejects(server.addExport(node, { name: 'a' }), { kind: 'config', message: /export 'a' already/ })
  await t.rejects(server.addExport(node, { name: 'b', writable: true }), {
    kind: 'config',
    message: /read-only/
  })
  await t.rejects(server.addExport(node, { name: 'b', iothreads: [] }), {
    kind: 'config',
    message: /no IOThread/
  })
  t.equal(threads[0]!.fault, undefined)
  const twice = await Promise.allSettled([
    server.addExport(node, { name: 'b', keepNode: true }),
    server.addExport(node, { name: 'b', keepNode: true })
  ])
  t.same(twice.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
})

void t.test('iothreads - clients that are handed over leave no descriptor behind', async (t) => {
  const server = await serveBound(t, 2, { a: [0], b: [1] })
  await RawClient.transmit(t, server, { name: 'b' })
  const sockets = openSockets(process.pid)
  for (let i = 0; i < 50; i++) {
    const client = await RawClient.transmit(t, server, { name: 'b' })
    client.socket.destroy()
  }
  await waitFor('all descriptors to be closed', () => openSockets(process.pid) <= sockets)
  t.pass('as many as before')
})
