/** Whether two connections lead to the same export, as far as can be told. */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'

const facts = ({ size, flags, blockSizes, contexts }: Negotiated): Record<string, number | string> => ({
  size,
  flags,
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
  if (changed === undefined) return
  const text = `the export is not the same any more: ${changed} was ${before[changed]}, and is ${now[changed]}`
  throw new NBDError('config', text, { errno: constants.errno.ESTALE })
}
