/** Servers that damage what they send, a byte at a time, and many of them at once. */
import type { Test } from 'tap'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { handshake, scriptedServer, type Handshake, type Peer } from './scripted-server.ts'

/** Runs at a time: most of them wait. */
const LANES = 40

/** A byte of what the server sends, by its number, is changed, or is the first that is not sent. */
export type Damage = { cut: number } | { flip: number; bits: number } | undefined

/** Applies the damage to all that is sent from now on. */
export function damaged(peer: Peer, damage: Damage): void {
  let sent = 0
  peer.tamper = (bytes) => {
    const start = sent
    sent += bytes.length
    if (!damage) return bytes
    if ('cut' in damage) {
      if (damage.cut >= sent) return bytes
      peer.socket.end(bytes.subarray(0, Math.max(0, damage.cut - start)))
      return Buffer.alloc(0)
    }
    const at = damage.flip - start
    if (at < 0 || at >= bytes.length) return bytes
    const changed = Buffer.from(bytes)
    changed[at]! ^= damage.bits
    return changed
  }
}

/** How a call ends: its result as text, or the error. */
export type Outcome = string | NBDError

export async function outcomeOf(promise: Promise<unknown>): Promise<Outcome> {
  try {
    return JSON.stringify(await promise)
  } catch (error) {
    if (NBDError.is(error)) return error
    throw error
  }
}

/**
 * Serves one script with one damage per connection, told by the caller.
 *
 * @param after what follows the handshake
 * @param fromTheStart the damage is to the handshake, too
 */
export function damagingServer(
  t: Test,
  script: Handshake,
  after: (peer: Peer, damage: Damage) => Promise<void>,
  fromTheStart: boolean
): (damage: Damage, use: (uri: string) => Promise<Outcome>) => Promise<Outcome> {
  const idle: { uri: string; next: Damage }[] = []
  return async (damage, use) => {
    let lane = idle.pop()
    if (!lane) {
      const made = { uri: '', next: undefined as Damage }
      const { uri } = await scriptedServer(t, async (peer) => {
        const mine = made.next
        if (fromTheStart) damaged(peer, mine)
        if (await handshake(peer, script)) await after(peer, mine)
      })
      made.uri = uri
      lane = made
    }
    lane.next = damage
    try {
      return await use(lane.uri)
    } finally {
      idle.push(lane)
    }
  }
}

/** Runs them all, some at a time. */
export async function inLanes(tasks: (() => Promise<void>)[]): Promise<void> {
  const rest = tasks.values()
  await Promise.all(
    Array.from({ length: LANES }, async () => {
      for (const task of rest) await task()
    })
  )
}

/** What is done to a message of `length` bytes. */
export function* damages(length: number): Generator<NonNullable<Damage>> {
  for (let at = 0; at < length; at++) {
    yield { cut: at }
    for (const bits of [0x01, 0x80]) yield { flip: at, bits }
  }
}
