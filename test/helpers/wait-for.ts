/** Waiting for a condition, instead of sleeping for a time. */

/**
 * Polls until `condition` gives something that is not false, undefined or null.
 *
 * @param name of what is waited for, for the message
 */
export async function waitFor<T>(
  name: string,
  condition: () => T | Promise<T>,
  timeoutMs = 30_000
): Promise<NonNullable<T>> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value !== false && value !== undefined && value !== null) return value
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms for ${name}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** `promise`, or an error when it has not settled in time. */
export async function within<T>(name: string, promise: Promise<T>, timeoutMs = 30_000): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${timeoutMs} ms for ${name}`)), timeoutMs)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
