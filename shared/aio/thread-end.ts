/**
 * What is to be done before a worker thread ends, be it told to or by a fault of its own: its memory is freed then, and
 * must not be the kernel's any more.
 *
 * @context a worker thread; the main thread ends with the process, and what the process has
 * @see thread_atexit in QEMU's util/qemu-thread-posix.c
 */
import { isMainThread } from 'node:worker_threads'
import type { EntryPoint } from './entry-point.ts'

export { isMainThread }

const ends: (() => void)[] = []
let kept = isMainThread

/** For a thread that nobody ends without `END_THREAD`, unless it is lost. */
export function keepThreadEnds(): void {
  kept = true
  process.on('exit', endThread)
}

/** Whether what is registered will run: not in a worker of somebody else's, which may be ended at any time. */
export const keepsThreadEnds = (): boolean => kept

/** @param end is called once; it may block @see qemu_thread_atexit_add */
export const atThreadEnd = (end: () => void): void => void ends.push(end)

const entry = (name: string): EntryPoint<undefined, void> => ({ module: import.meta.url, name })

/** For the thread that is about to end this one. */
export const END_THREAD = entry('endThread')
export function endThread(): void {
  for (const end of ends.splice(0).reverse()) end()
}

/** To see whether it does. */
export const ANSWER = entry('answer')
export const answer = (): void => undefined
