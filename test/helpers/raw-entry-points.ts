/** What the tests of IOThread let a thread do. */
import { isMainThread, threadId } from 'node:worker_threads'
import type { PollingOptions } from '../../shared/aio/adaptive-polling.ts'
import { AioContext } from '../../shared/aio/aio-context.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { threadPool } from '../../shared/aio/thread-pool.ts'
import type { ThreadPoolParams } from '../../shared/aio/thread-pool-params.ts'
import { currentProperties } from '../../shared/iothread/current-properties.ts'
import type { IOThreadProperties } from '../../shared/iothread/io-thread-properties.ts'

const entry = <A, R>(name: string): EntryPoint<A, R> => ({ module: import.meta.url, name })

export const DOUBLE = entry<number, number>('double')
export const double = (value: number): number => 2 * value

export const ECHO = entry<unknown, unknown>('echo')
export const echo = async (value: unknown): Promise<unknown> => {
  await new Promise((resolve) => setImmediate(resolve))
  return value
}

export const WHERE = entry<undefined, { main: boolean; thread: number }>('where')
export const where = (): { main: boolean; thread: number } => ({ main: isMainThread, thread: threadId })

export const FAIL = entry<{ kind: NBDError['kind']; errno: number }, never>('fail')
export const fail = ({ kind, errno }: { kind: NBDError['kind']; errno: number }): never => {
  throw new NBDError(kind, 'it failed', { errno })
}

export const FAIL_LATER = entry<string, never>('failLater')
export const failLater = async (message: string): Promise<never> => {
  await new Promise((resolve) => setImmediate(resolve))
  throw new TypeError(message)
}

export const UNPOSTABLE = entry<undefined, unknown>('unpostable')
/** A result that is not to be had by copying. */
export const unpostable = (): unknown => ({ callback: () => undefined })

const oddities = {
  nothing: undefined,
  symbol: Symbol('odd'),
  'bare object': Object.create(null) as unknown,
  'odd fields': Object.assign(new Error('odd fields'), { code: () => undefined, errno: Symbol('odd') })
}

export const THROW = entry<keyof typeof oddities, never>('throwOddly')
/** Throws what is no error, or no good one. */
export const throwOddly = (what: keyof typeof oddities): never => {
  throw oddities[what]
}

export const NEVER = entry<undefined, never>('never')
export const never = (): Promise<never> => new Promise(() => setInterval(() => undefined, 1000))

export const LOSE = entry<Int32Array, void>('lose')
/** Does nothing else any more. @param word is set to 1 when it begins */
export const lose = (word: Int32Array): void => {
  Atomics.store(word, 0, 1)
  for (;;) Atomics.load(word, 0)
}

export const DIE = entry<string, void>('die')
export const die = (message: string): void => {
  setImmediate(() => {
    throw new Error(message)
  })
}

export const EXIT = entry<number, void>('exit')
export const exit = (status: number): void => process.exit(status)

export const ABSENT = entry<undefined, never>('absent')

interface InEffect {
  polling: PollingOptions
  pool: ThreadPoolParams
  properties: IOThreadProperties
}

/** What the thread itself goes by. */
export const IN_EFFECT = entry<undefined, InEffect>('inEffect')
export const inEffect = (): InEffect => ({
  polling: AioContext.current().polling.options,
  pool: threadPool().params,
  properties: currentProperties()
})
