import * as crypto from 'node:crypto'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { Bystander } from '../helpers/bystander.ts'
import { emptyImage } from '../helpers/files.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_DISC, NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { KiB, MiB, request } from '../helpers/raw-wire.ts'
import type { Test } from '../helpers/requires.ts'
import { atWork, reads, requestsById, spreadClient } from '../helpers/spread-client.ts'
import { TrialProcess } from '../helpers/trial-process.ts'
import { serveTrial, type TrialServer } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

setLogLevel('silent')

const SIZE = 64 * MiB
/** Requests below are held back, when the test says so. */
const LINE = MiB
const THREADS = 3
/** By then a connection of heavy requests has long been spread. */
const MAX_STREAMS = 50

const serve = (t: Test, heldBelow = LINE): Promise<TrialServer> =>
  serveTrial(t, { threads: THREADS, image: emptyImage(t, SIZE), busyMs: 1, heldBelow })

const allFree = (served: TrialServer): Promise<boolean> =>
  waitFor('all threads to be free', async () => (await served.server.counters()).connections.length === 0)

void t.test('DISC - the stream ends behind the replies of all threads', async (t) => {
  const served = await serve(t)
  const client = await spreadClient(t, served, LINE)
  const before = await requestsById(served.server)
  served.control.held = true
  const payload = crypto.randomBytes(1000)
  const held = [
    ...Array.from({ length: 30 }, (_, i) => ({ type: NBD_CMD_READ, offset: i * KiB, length: 10 * KiB })),
    ...Array.from({ length: 10 }, (_, i) => ({ type: NBD_CMD_WRITE, offset: 100_000 + i * 1000, payload }))
  ].map((fields, i) => ({ ...fields, cookie: BigInt(i) }))
  client.send(Buffer.concat([...held.map(request), request({ type: NBD_CMD_DISC })]))
  await waitFor('all requests to be held back', () => served.control.waiting === held.length)
  const threads = await atWork(served.server, before)
  t.ok(threads > 1, `${threads} threads have taken them`)
  t.equal(client.pending, 0)
  served.control.held = false
  const seen = new Set<bigint>()
  for (const _ of held) {
    const reply = await client.replyToAny((cookie) => held[Number(cookie)]!)
    t.equal(reply.error, 0)
    seen.add(reply.cookie)
  }
  t.equal(seen.size, held.length)
  t.equal((await client.closed()).length, 0)
  await allFree(served)
  const disk = await connect(served.uri)
  for (let i = 0; i < 10; i++) t.ok((await disk.read(100_000 + i * 1000, 1000)).equals(payload))
  await disk.close()
})

void t.test('garbage - ends the connection in all threads, is told once, and harms nobody', async (t) => {
  const server = await TrialProcess.serve(t, { threads: THREADS, image: `memory:${SIZE}`, busyMs: 1 })
  const bystander = await Bystander.start(t, server, 2 * MiB)
  for (let round = 1; round <= 3; round++) {
    const client = await RawClient.transmit(t, server)
    client.socket.resume()
    const garbage = request({ type: NBD_CMD_READ, length: 1, magic: 0xbad00bad })
    const stream = reads(200, LINE, 20 * KiB)
    const spread = async (): Promise<boolean> =>
      (await server.counters()).connections.some(({ handOvers }) => handOvers >= 5)
    for (let sent = 0; !(await spread()); sent++) {
      const answered = client.socket.bytesRead + 200 * 20 * KiB
      client.send(stream)
      await waitFor('the replies', () => client.socket.bytesRead >= answered)
      if (sent === MAX_STREAMS) throw new Error(`one thread has served ${sent} times 200 requests`)
    }
    client.send(Buffer.concat([stream, garbage, stream]))
    await client.closed()
    await waitFor('the threads to be free', async () => (await server.counters()).connections.length === 1)
    await bystander.goesOn()
    await waitFor('its end to be told', () => server.process.stderr.includes('0xbad00bad'))
    const told = server.process.stderr.match(/connection ended/g) ?? []
    t.equal(told.length, round)
  }
  await bystander.stop()
})

/** What a client may be doing when it vanishes. */
const stages: Record<string, (t: Test, served: TrialServer) => Promise<RawClient>> = {
  'before the handshake': (t, served) => RawClient.connect(t, served),
  'in negotiation': (t, served) => RawClient.negotiate(t, served),
  idle: (t, served) => RawClient.transmit(t, served),
  'in the middle of a payload': async (t, served) => {
    const client = await RawClient.transmit(t, served)
    const write = request({ type: NBD_CMD_WRITE, offset: LINE, payload: Buffer.alloc(4 * MiB, 1) })
    await client.sent(write.subarray(0, 3 * MiB))
    return client
  },
  'in the middle of a payload, spread': async (t, served) => {
    const client = await spreadClient(t, served, LINE)
    const write = request({ type: NBD_CMD_WRITE, offset: LINE, payload: Buffer.alloc(4 * MiB, 1) })
    await client.sent(Buffer.concat([reads(20, LINE, 512), write.subarray(0, 3 * MiB)]))
    return client
  },
  'in the middle of a request, spread': async (t, served) => {
    const client = await spreadClient(t, served, LINE)
    await client.sent(reads(20, LINE, 512).subarray(0, -11))
    return client
  },
  'with replies unread, spread': async (t, served) => {
    const client = await spreadClient(t, served, LINE)
    client.socket.pause()
    const before = (await served.server.counters()).connections[0]!.requests
    client.send(reads(200, LINE, MiB))
    await waitFor(
      'replies that have no room',
      async () => (await served.server.counters()).connections[0]!.requests > before
    )
    return client
  },
  'with requests held back, spread': async (t, served) => {
    const client = await spreadClient(t, served, LINE)
    served.control.held = true
    client.send(reads(20, 0, 512))
    await waitFor('requests that wait', () => served.control.waiting === 20)
    return client
  }
}

void t.test('requests that a thread had kept are not served to the next client', async (t) => {
  const served = await serve(t)
  for (let round = 0; round < 20; round++) {
    // It checks each reply: one to a request of the client before would not fit.
    const client = await spreadClient(t, served, LINE)
    const { requests } = (await served.server.counters()).connections[0]!
    client.send(reads(64, LINE, 10 * KiB))
    await waitFor(
      'some of them to be taken',
      async () => (await served.server.counters()).connections[0]!.requests > requests
    )
    client.socket.destroy()
    await allFree(served)
  }
})

for (const [stage, begin] of Object.entries(stages)) {
  void t.test(`a client vanishes ${stage} - nothing of it is left in any thread`, async (t) => {
    const served = await serve(t)
    const sockets = openSockets(process.pid)
    for (let round = 0; round < 3; round++) {
      const client = await begin(t, served)
      client.socket.destroy()
      served.control.held = false
      await allFree(served)
      await waitFor('its sockets to be closed', () => openSockets(process.pid) <= sockets)
    }
    const disk = await connect(served.uri)
    t.equal((await disk.read(0, 100)).length, 100)
    await disk.close()
  })
}
