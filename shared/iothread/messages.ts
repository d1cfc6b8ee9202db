/** What the main thread and an IOThread post to each other. */
import type { MarshalledError } from '../errors/marshal.ts'
import type { LogLevel } from '../log/log.ts'

/**
 * A function that can be started in another thread: it is named, because functions cannot be posted.
 * The type parameters are those of its one argument and of its result; both are postable.
 */
export interface EntryPoint<A, R> {
  /** URL of the module that exports it. */
  readonly module: string
  readonly name: string
  /** Only for the compiler. */
  readonly type?: (argument: A) => R | Promise<R>
}

/** Main thread to IOThread. */
export interface RunMessage {
  id: number
  module: string
  name: string
  argument: unknown
}

/** IOThread to main thread: a run has ended. */
export interface RanMessage {
  id: number
  result?: unknown
  error?: MarshalledError
}

/** What a new IOThread is given. */
export interface IOThreadData {
  id: string
  logLevel: LogLevel
}
