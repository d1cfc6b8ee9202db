/** Parts that contend for a role: what runs in each thread of a test. */
import { PartTable, PARTS_WORDS } from '../../client/sharing/parts.ts'
import { Role, ROLE_WORDS } from '../../client/sharing/role.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { BottomHalf } from '../../shared/aio/bottom-half.ts'

const HOLDS = PARTS_WORDS + ROLE_WORDS
/** Changed by whoever has the role, and by no atomic operation. */
const COUNTED = HOLDS + 1
export const PLAYERS_WORDS = COUNTED + 1

export const counted = (words: Int32Array): number => words[COUNTED]!

interface Play {
  words: Int32Array
  /** How often the role is to be had. */
  rounds: number
}

export const PLAY: EntryPoint<Play, void> = { module: import.meta.url, name: 'play' }

/** Takes the role so often, and gives it to somebody in particular now and then. */
export async function play({ words, rounds }: Play): Promise<void> {
  let wake: (() => void) | undefined
  const bh = new BottomHalf(() => wake?.())
  const parts = new PartTable(words, 0)
  const me = parts.join(bh.handle)!
  const role = new Role(words, PARTS_WORDS, parts, me, 1)
  for (let i = 0; i < rounds; i++) {
    while (!role.take()) await new Promise<void>((resolve) => (wake = resolve))
    if (Atomics.add(words, HOLDS, 1) !== 0) throw new Error('two have the role')
    words[COUNTED]!++
    Atomics.sub(words, HOLDS, 1)
    const other = [...parts.wanting(1, me)].find((part) => part !== me)
    if (i % 3 === 0 && other !== undefined) role.give(other)
    // Not wanted before the next round.
    role.release()
  }
  parts.depart(me)
  role.decline()
  parts.leave(me)
  bh.delete()
}
