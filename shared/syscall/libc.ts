/**
 * The C library of this process, and what is common to all calls into it. Only this folder imports koffi.
 *
 * Calls return the C result; where that says "failed", `errno()` must be read at once, before any other call.
 * Pointers are passed as numbers (`Memory.address`): user-space addresses are below 2^48.
 */
import koffi from 'koffi'
import { constants } from 'node:os'

/** Our own names for errnos that the callers ask for. */
export const {
  EACCES,
  EAGAIN,
  EBADF,
  EBUSY,
  ECANCELED,
  EINTR,
  EINVAL,
  EOVERFLOW,
  EIO,
  ENODEV,
  ENOMEM,
  ENOSPC,
  ENOSYS,
  ENOTSUP,
  ENOTTY,
  ENXIO,
  EPERM
} = constants.errno

// The pool of libuv runs a few calls at a time; what more is asked for waits in `callInPool`. The smallest stacks,
// because each call takes only numbers.
koffi.config({ max_async_calls: 256, async_stack_size: 64 * 1024, async_heap_size: 64 * 1024 })

const libc = koffi.load(null)

/** What a call may take: numbers, strings, and buffers where the prototype has a pointer, or an array of strings. */
type Argument = number | string | Uint8Array | null | readonly (string | null)[]

export interface Call {
  (...args: Argument[]): number
  async(...args: [...Argument[], (error: unknown, result: number) => void]): void
}

/** Declares a function of the C library by its prototype. */
export const declare = (prototype: string): Call => libc.func(prototype)

export type TextCall = (...args: Argument[]) => string | null

/** As `declare`, of a function that returns text; null for NULL. */
export const declareText = (prototype: string): TextCall => libc.func(prototype)

/**
 * Lets C call a function of JavaScript, in this thread, while it calls C. koffi has room for 8192 of these in a process.
 *
 * @param prototype of what C calls; pointers are numbers, and text is decoded
 * @param callback must not throw
 * @returns its address, until `releaseCallback`, which koffi does not do by itself when the thread ends
 */
export const declareCallback = (prototype: string, callback: (...args: never[]) => number): number =>
  Number(koffi.register(callback, koffi.pointer(koffi.proto(prototype))))

/** C does not call it any more. @param address of `declareCallback`, in the same thread */
export const releaseCallback = (address: number): void => koffi.unregister(BigInt(address))

/** Memory that is none of JavaScript's. It must not be touched any more when it is unmapped. */
export const viewMemory = (address: number, length: number): ArrayBuffer =>
  koffi.view(BigInt(address), length)

/** errno of the last failed call of this thread; inside the callback of `.async`, that of the asynchronous call. */
export const errno = (): number => koffi.errno()

const MAX_POOL_CALLS = 64
let running = 0
const waiting: (() => void)[] = []

/**
 * Runs a call in libuv's thread pool.
 *
 * @returns its result, or the errno as a negative number when the result is -1
 */
export async function callInPool(call: Call, ...args: Argument[]): Promise<number> {
  if (running >= MAX_POOL_CALLS) await new Promise<void>((resolve) => waiting.push(resolve))
  running++
  try {
    return await new Promise<number>((resolve, reject) => {
      call.async(...args, (error, result) => {
        if (error instanceof Error) reject(error)
        else resolve(result === -1 ? -errno() : result)
      })
    })
  } finally {
    running--
    waiting.shift()?.()
  }
}
