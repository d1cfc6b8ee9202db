/** `null:`, which swallows everything. */
import type { Destination } from './endpoint.ts'

const nothing = async (): Promise<void> => undefined

export class NullDestination implements Destination {
  readonly name = 'null:'
  readonly size = undefined
  readonly minimum = 1
  readonly preferred = 4096
  readonly connections = 1
  readonly sequential = false
  readonly sparse = false
  readonly drops = true
  readonly isZero = true
  readonly prepare = nothing
  readonly write = nothing
  readonly zero = nothing
  readonly finish = nothing
  readonly flush = nothing
  readonly close = nothing
}
