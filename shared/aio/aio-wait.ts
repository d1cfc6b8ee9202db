/**
 * Waiting until other threads have brought something about: that a bottom half has run, that nothing is in flight.
 *
 * There is one word for all who wait so. Whoever changes what somebody may wait for kicks, which costs one look at
 * memory when nobody waits; and each waiter looks again whether its own condition still holds.
 *
 * A `drained` wait is one of these: whoever drains stops new work, and waits while a count of what is in flight, which
 * lies in shared memory, is not 0; whoever takes the count to 0 kicks. As a promise it is `aioWaitWhile`, and where the
 * thread may block, `aioWaitWhileSync`.
 *
 * @see AIO_WAIT_WHILE and aio_wait_kick in QEMU's include/block/aio-wait.h
 */
import { KICK_WAITERS, KICKS, kickWaiters, words } from './context-table.ts'
import { waitWord } from './wait-word.ts'

/**
 * Lets everybody who waits look again.
 *
 * @context any-thread, after the change, which was made by Atomics: a plain store may still be on its way when this
 *   finds that nobody waits
 * @see aio_wait_kick
 */
export const aioWaitKick = (): void => kickWaiters()

/**
 * Waits while the condition holds; the thread's loop turns meanwhile.
 *
 * @param condition is asked at once and after each kick; what it throws ends the wait
 * @context any-thread
 * @see AIO_WAIT_WHILE
 */
export async function aioWaitWhile(condition: () => boolean): Promise<void> {
  Atomics.add(words, KICK_WAITERS, 1)
  try {
    for (;;) {
      // Before the condition, so that a kick that comes in between is not missed.
      const kicks = Atomics.load(words, KICKS)
      if (!condition()) return
      await waitWord(words, KICKS, kicks)
    }
  } finally {
    Atomics.sub(words, KICK_WAITERS, 1)
  }
}

/**
 * As `aioWaitWhile`, and the thread does nothing else meanwhile: what it waits for must come from other threads, and
 * not wait for this one.
 *
 * @param condition looks at shared memory only
 * @context a thread that may block
 */
export function aioWaitWhileSync(condition: () => boolean): void {
  Atomics.add(words, KICK_WAITERS, 1)
  try {
    for (;;) {
      const kicks = Atomics.load(words, KICKS)
      if (!condition()) return
      Atomics.wait(words, KICKS, kicks)
    }
  } finally {
    Atomics.sub(words, KICK_WAITERS, 1)
  }
}
