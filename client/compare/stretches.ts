/** The extents of two sources, cut where either has a border. */
import { NBD_STATE_ZERO } from '../../shared/protocol/constants.ts'
import type { NBDExtent } from '../transmission/block-status.ts'

/** A range in which each source has one status. */
export interface Stretch {
  offset: number
  length: number
  /** NBD_STATE_ flags of the two. */
  flags: readonly [number, number]
}

export const isZero = (flags: number): boolean => (flags & NBD_STATE_ZERO) !== 0

/**
 * @param first extents from 0 on, without a gap
 * @param second likewise, over the same range
 */
export async function* commonStretches(
  first: AsyncIterator<NBDExtent>,
  second: AsyncIterator<NBDExtent>
): AsyncGenerator<Stretch, void, undefined> {
  let [one, other] = [await first.next(), await second.next()]
  for (let at = 0; !one.done && !other.done;) {
    const ends = [one.value, other.value].map(({ offset, length }) => offset + length) as [number, number]
    const end = Math.min(...ends)
    yield { offset: at, length: end - at, flags: [one.value.flags, other.value.flags] }
    at = end
    if (ends[0] === end) one = await first.next()
    if (ends[1] === end) other = await second.next()
  }
}
