import * as crypto from 'node:crypto'
import t, { type Test } from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { residentBytes } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { MiB, request, type RawRequest } from '../helpers/raw-wire.ts'

const clients = (t: Test, server: Mqnbd, count: number): Promise<RawClient[]> =>
  Promise.all(Array.from({ length: count }, () => RawClient.transmit(t, server)))

/** One thread, for all of them. */
const serve = (t: Test, size: number): Promise<Mqnbd> =>
  Mqnbd.serve(t, [`memory:${size}`, '--iothreads', '1'])

void t.test('large WRITEs - clients that stop in the middle of theirs hinder nobody for long', async (t) => {
  const COUNT = 40
  const server = await serve(t, (COUNT + 1) * MiB)
  const stopped = await clients(t, server, COUNT)
  const writes = stopped.map((_, i): RawRequest => ({
    type: NBD_CMD_WRITE,
    offset: i * MiB,
    payload: crypto.randomBytes(MiB)
  }))
  const HALF = MiB / 2
  stopped.forEach((client, i) => client.send(request(writes[i]!).subarray(0, HALF)))
  const other = await RawClient.transmit(t, server)
  for (let round = 0; round < 3; round++) {
    const payload = crypto.randomBytes(MiB)
    t.equal((await other.call({ type: NBD_CMD_WRITE, offset: COUNT * MiB, payload })).error, 0)
    const { data } = await other.call({ type: NBD_CMD_READ, offset: COUNT * MiB, length: MiB })
    t.ok(data.equals(payload))
  }
  // One that goes for good leaves its turn to others.
  stopped.pop()!.socket.destroy()
  stopped.forEach((client, i) => client.send(request(writes[i]!).subarray(HALF)))
  const replies = await Promise.all(stopped.map((client, i) => client.reply(writes[i]!)))
  t.ok(replies.every(({ error }) => error === 0))
  for (let i = 0; i < stopped.length; i++) {
    const { data } = await other.call({ type: NBD_CMD_READ, offset: i * MiB, length: MiB })
    if (!data.equals(writes[i]!.payload!)) t.fail(`what client ${i} has written`)
  }
  const { data: untouched } = await other.call({ type: NBD_CMD_READ, offset: (COUNT - 1) * MiB, length: MiB })
  t.ok(untouched.equals(Buffer.alloc(MiB)), 'of a WRITE that never came as a whole nothing is written')
})

void t.test('large WRITEs - of many clients at once, a bounded amount is in memory', async (t) => {
  const COUNT = 48
  const ROUNDS = 4
  // All at once would be 192 MiB.
  const BOUND = 100 * MiB
  const LENGTH = 4 * MiB
  const server = await serve(t, LENGTH)
  const all = await clients(t, server, COUNT)
  const write = { type: NBD_CMD_WRITE, offset: 0, payload: Buffer.alloc(LENGTH, 7) }
  const bytes = request(write)
  t.equal((await all[0]!.call(write)).error, 0)
  const before = residentBytes(server.process.pid)
  let most = 0
  await Promise.all(
    all.map(async (client) => {
      for (let round = 0; round < ROUNDS; round++) client.send(bytes)
      for (let round = 0; round < ROUNDS; round++) {
        t.equal((await client.reply(write)).error, 0)
        most = Math.max(most, residentBytes(server.process.pid) - before)
      }
    })
  )
  t.ok(most < BOUND, `grew by ${Math.round(most / MiB)} MiB`)
})
