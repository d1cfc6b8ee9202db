/** Waiting for a word of shared memory to change. */

/**
 * Resolves when the word is no longer `value`, or somebody notified it. Keeps the thread's loop alive meanwhile, which
 * Atomics.waitAsync alone does not.
 */
export async function waitWord(words: Int32Array, index: number, value: number): Promise<void> {
  const wait = Atomics.waitAsync(words, index, value)
  if (!wait.async) return
  const alive = setInterval(() => undefined, 0x7fffffff)
  try {
    await wait.value
  } finally {
    clearInterval(alive)
  }
}
