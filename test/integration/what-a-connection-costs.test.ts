import t from 'tap'
import { NBD_MAX_IN_FLIGHT_BYTES } from '../../shared/protocol/limits.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { residentBytes } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { KiB, MiB, request, type RawRequest } from '../helpers/raw-wire.ts'
import type { Test } from '../helpers/requires.ts'
import { TrialProcess } from '../helpers/trial-process.ts'

/** What an idle connection may cost, beyond the kernel's own. */
const IDLE_LIMIT = 64 * KiB
const IDLE = 1000
/** Connections that are made at once. */
const TOGETHER = 50

void t.test(`memory - each of ${IDLE} idle connections costs less than 64 KiB`, async (t) => {
  const server = await Mqnbd.serve(t, ['memory:64M', '--iothreads', '2'])
  const clients: RawClient[] = []
  const connect = async (count: number): Promise<void> => {
    for (let made = 0; made < count; made += TOGETHER) {
      const some = Array.from({ length: TOGETHER }, async () => {
        const client = await RawClient.transmit(t, server, { structured: true })
        const { error } = await client.call({ type: NBD_CMD_READ, offset: MiB, length: 64 * KiB })
        t.equal(error, 0)
        return client
      })
      clients.push(...(await Promise.all(some)))
    }
  }
  // What the first ones need, the others share.
  await connect(TOGETHER)
  const before = residentBytes(server.process.pid)
  await connect(IDLE)
  const each = (residentBytes(server.process.pid) - before) / IDLE
  t.comment(`${(each / KiB).toFixed(1)} KiB each`)
  t.ok(each < IDLE_LIMIT, `${(each / KiB).toFixed(1)} KiB each`)
  for (const client of clients) client.socket.destroy()
})

const SIZE = 64 * MiB
/** Requests below are held back for ever. */
const LINE = 32 * MiB
const THREADS = 3
/** So often in a row the server has taken nothing more: it takes nothing more. */
const QUIET = 50

/** A client whose connection several threads serve. */
async function spreadClient(t: Test, server: TrialProcess): Promise<RawClient> {
  const client = await RawClient.transmit(t, server, { structured: true })
  const batch = Array.from({ length: 16 }, (_, i) => ({
    type: NBD_CMD_READ,
    cookie: BigInt(i),
    offset: LINE,
    length: 512
  }))
  for (;;) {
    client.send(Buffer.concat(batch.map(request)))
    for (const _ of batch) await client.replyToAny((cookie) => batch[Number(cookie)]!)
    const { connections } = await server.counters()
    if (connections[0]!.threads === THREADS && connections[0]!.handOvers > 10) return client
  }
}

/** Without `limit`: the server's own. */
const floods: Record<string, { limit?: number; fields: RawRequest }> = {
  'READs of 64 KiB that it takes no reply of': {
    fields: { type: NBD_CMD_READ, offset: LINE, length: 64 * KiB }
  },
  'READs of 8 MiB that it takes no reply of': {
    fields: { type: NBD_CMD_READ, offset: LINE, length: 8 * MiB }
  },
  'READs that take for ever': { fields: { type: NBD_CMD_READ, offset: 0, length: MiB } },
  'WRITEs that take for ever': { fields: { type: NBD_CMD_WRITE, offset: 0, payload: Buffer.alloc(MiB, 1) } },
  'WRITEs that take for ever, and the limit is lower': {
    limit: 32 * MiB,
    fields: { type: NBD_CMD_WRITE, offset: 0, payload: Buffer.alloc(MiB, 1) }
  },
  'short WRITEs that take for ever': {
    fields: { type: NBD_CMD_WRITE, offset: 0, payload: Buffer.alloc(KiB, 1) }
  }
}

for (const [what, { limit, fields }] of Object.entries(floods)) {
  /** In pieces up to twice as large as their contents, and some. */
  const bound = 3 * (limit ?? NBD_MAX_IN_FLIGHT_BYTES)
  void t.test(
    `memory - a spread connection costs up to ${bound / MiB} MiB when its client sends ${what}`,
    async (t) => {
      const server = await TrialProcess.serve(t, {
        threads: THREADS,
        image: `memory:${SIZE}`,
        busyMs: 1,
        heldBelow: LINE,
        held: true,
        server: { maxInFlightBytes: limit }
      })
      // The disk itself is not to be counted.
      const other = await RawClient.transmit(t, server)
      for (let offset = 0; offset < SIZE - LINE; offset += 4 * MiB) {
        const payload = Buffer.alloc(4 * MiB, 1)
        const { error } = await other.call({ type: NBD_CMD_WRITE, offset: LINE + offset, payload })
        t.equal(error, 0)
      }
      other.socket.destroy()
      const silent = await spreadClient(t, server)
      const before = residentBytes(server.process.pid)
      silent.socket.pause()
      const one = request(fields)
      const batch = Buffer.concat(Array<Buffer>(Math.max(1, Math.ceil(MiB / one.length / 4))).fill(one))
      let most = 0
      let taken = -1
      // Until the server takes no more.
      for (let quiet = 0; quiet < QUIET;) {
        if (silent.socket.writableLength < 64 * MiB) silent.socket.write(batch)
        const { connections } = await server.counters()
        const blocked = silent.socket.writableLength > 0 && connections[0]!.requests === taken
        quiet = blocked ? quiet + 1 : 0
        taken = connections[0]!.requests
        most = Math.max(most, residentBytes(server.process.pid) - before)
      }
      t.ok(most < bound, `grew by ${Math.round(most / MiB)} MiB, ${taken} requests`)
      silent.socket.destroy()
    }
  )
}
