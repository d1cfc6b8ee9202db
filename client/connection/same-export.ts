/** Whether two connections lead to the same export, as far as can be told. */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_FLAG_BLOCK_STATUS_PAYLOAD } from '../../shared/protocol/constants.ts'
import { NBD_PACKETS } from '../../shared/protocol/nbd-mode.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'

const facts = ({ size, flags, blockSizes, contexts }: Negotiated): Record<string, number | string> => ({
  size,
  // Comes with extended headers.
  flags: flags & ~NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  'minimum block size': blockSizes.minimum,
  'maximum block size': blockSizes.maximum,
  // Each connection has ids of its own for them.
  'what it tells the status of': [...contexts.values()].sort().join(', ') || 'nothing'
})

/**
 * What a disk goes by must not change under it.
 *
 * @throws NBDError ESTALE, of kind `config`: it is of no use to try again
 */
export function checkSameExport(first: Negotiated, next: Negotiated): void {
  const [before, now] = [facts(first), facts(next)]
  const changed = Object.keys(before).find((name) => before[name] !== now[name])
  if (changed !== undefined) {
    const values = `${changed} was ${before[changed]}, and is ${now[changed]}`
    throw stale(`the export is not the same any more: ${values}`)
  }
  // A better form does no harm; a lesser one could not carry what waits to be sent again.
  if (next.mode < first.mode)
    throw stale(
      `the server speaks no ${NBD_PACKETS[first.mode]} packets any more, only ${NBD_PACKETS[next.mode]}`
    )
}

const stale = (text: string): NBDError => new NBDError('config', text, { errno: constants.errno.ESTALE })
