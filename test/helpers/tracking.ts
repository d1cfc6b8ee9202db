/** Tracked requests of another thread. */
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { TrackedRequests } from '../../shared/block/tracked-requests.ts'

export interface BeginTracked {
  memory: SharedArrayBuffer
  start: number
  end: number
  serialising: boolean
}

export const BEGIN_TRACKED: EntryPoint<BeginTracked, number> = {
  module: import.meta.url,
  name: 'beginTracked'
}
/** @returns its slot, which anybody can end */
export const beginTracked = async ({ memory, start, end, serialising }: BeginTracked): Promise<number> =>
  new TrackedRequests(memory).begin(start, end, serialising)
