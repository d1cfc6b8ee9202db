/** Functions that are started in another thread: by name, because functions cannot be posted. */
import type { MarshalledError } from '../errors/marshal.ts'

/**
 * A function of a module. The type parameters are those of its one argument and of its result; both are postable.
 * An asynchronous function has run when its promise settles.
 */
export interface EntryPoint<A, R> {
  /** URL of the module that exports it. */
  readonly module: string
  readonly name: string
  /** Only for the compiler. */
  readonly type?: (argument: A) => R | Promise<R>
}

/** Posted to a thread: what it is to run. */
export interface RunMessage {
  /** Comes back with the result. */
  id: number
  module: string
  name: string
  argument: unknown
}

/** Posted by a thread: a run has ended. */
export interface RanMessage {
  id: number
  result?: unknown
  error?: MarshalledError
}
