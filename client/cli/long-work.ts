/** What commands that take their time have in common: how they end early. */

/** For a server to answer what is in flight when the work has failed. */
const CLOSE_TIMEOUT_MS = 1000

/** Closes what is open when there is nothing more to lose: for as long as that is worth waiting for. */
export async function closeAll(opened: readonly { close(): Promise<void> }[]): Promise<void> {
  const closed = Promise.allSettled(opened.map((each) => each.close()))
  let timer: NodeJS.Timeout | undefined
  await Promise.race([closed, new Promise((resolve) => (timer = setTimeout(resolve, CLOSE_TIMEOUT_MS)))])
  clearTimeout(timer)
}

/**
 * Lets a signal end the process, as it does anyway, behind `tidy`.
 *
 * @returns to be called when the work is done
 */
export function untilSignal(tidy: () => void): () => void {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const onSignal = (signal: NodeJS.Signals): void => {
    forget()
    tidy()
    process.kill(process.pid, signal)
  }
  const forget = (): void => {
    for (const signal of signals) process.off(signal, onSignal)
  }
  for (const signal of signals) process.on(signal, onSignal)
  return forget
}
