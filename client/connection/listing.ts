/** Connecting to a server only to ask what it has. */
import { Coroutine } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { WindowReader } from '../../shared/io/window-reader.ts'
import type { NBDMode } from '../../shared/protocol/nbd-mode.ts'
import { negotiateListing, type Listing } from '../negotiation/listing.ts'
import { withContext } from '../with-context.ts'
import { withinTime } from './connection.ts'
import type { Target } from './target.ts'

/**
 * Connects, asks for all exports, and disconnects.
 *
 * @param target its export does not matter
 * @param timeoutMs for all of it
 * @throws NBDError of kind `transport`, `protocol`, `request` (the server does not list its exports) or `config`
 */
export async function listExports(
  target: Target,
  timeoutMs: number,
  wishes: { mode: NBDMode }
): Promise<Listing> {
  const start = performance.now()
  try {
    const channel = await target.open(timeoutMs)
    const negotiating = { channel, reader: new WindowReader(channel) }
    const left = Math.max(0, timeoutMs - (performance.now() - start))
    const asked = Coroutine.start(() => negotiateListing(negotiating, target, wishes))
    const listing = await withinTime(negotiating, asked, left, timeoutMs)
    await negotiating.channel.close()
    return listing
  } catch (error) {
    throw NBDError.is(error) ? withContext(`cannot list the exports of '${target.name}'`, error) : error
  }
}
