/** Clients whose connection several threads serve. */
import type { Test } from 'tap'
import type { NBDServer } from '../../server/index.ts'
import { RawClient } from './raw-client.ts'
import { NBD_CMD_READ } from './raw-constants.ts'
import { request } from './raw-wire.ts'
import { untilSpread, type TrialServer } from './trial-server.ts'

const DEPTH = 16

/** So many reads of the same place, with cookies from 0 on. */
export const reads = (count: number, offset: number, length: number): Buffer =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) =>
      request({ type: NBD_CMD_READ, cookie: BigInt(i), offset, length })
    )
  )

/** Has reads of one place in flight at any time; resolves when the connection is lost. */
export async function keepReading(client: RawClient, offset: number, length: number): Promise<void> {
  client.send(reads(DEPTH, offset, length))
  while (await client.simpleReply(() => length).catch(() => undefined)) client.send(reads(1, offset, length))
}

/**
 * The only client of a server: several threads serve its connection, and nothing is in flight.
 *
 * @param offset what it reads to get there
 */
export async function spreadClient(t: Test, served: TrialServer, offset: number): Promise<RawClient> {
  const client = await RawClient.transmit(t, served)
  let enough = false
  const spreading = untilSpread(served, 3).then(() => (enough = true))
  while (!enough) {
    client.send(reads(DEPTH, offset, 512))
    for (let i = 0; i < DEPTH; i++) await client.simpleReply(() => 512)
  }
  await spreading
  return client
}

/** What each thread has taken so far; `atWork` compares with it. */
export async function requestsById(server: NBDServer): Promise<Map<string, number>> {
  const { iothreads } = await server.counters()
  return new Map(iothreads.map(({ id, requests }) => [id, requests]))
}

/** How many threads have taken requests since `before`. */
export async function atWork(server: NBDServer, before: Map<string, number>): Promise<number> {
  const { iothreads } = await server.counters()
  return iothreads.filter(({ id, requests }) => requests > (before.get(id) ?? 0)).length
}
