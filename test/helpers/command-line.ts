/** What the command line promises for everything that it refuses. */
import type { Test } from 'tap'
import type { Ran } from './launched.ts'
import { mqnbd } from './mqnbd.ts'

/** Commands that run side by side. */
const TOGETHER = 4

/** One line on standard error says why; nothing else is printed. */
export function isRefusal(t: Test, ran: Ran, status: number | number[], reason: RegExp, what: string): void {
  const { stdout, stderr } = ran
  t.ok([status].flat().includes(ran.status!), `${what}: status ${ran.status}, signal ${ran.signal}`)
  t.match(stderr, /^mqnbd: [^\n]+\n$/, `${what}: one line`)
  t.match(stderr, reason, `${what}: which says why`)
  t.equal(stdout, '', `${what}: nothing else`)
}

/** Runs mqnbd with `common` and each case's arguments; all are to be refused. */
export async function allRefused(
  t: Test,
  common: string[],
  cases: [args: string[], reason: RegExp][],
  status: number | number[]
): Promise<void> {
  for (let i = 0; i < cases.length; i += TOGETHER) {
    await Promise.all(
      cases.slice(i, i + TOGETHER).map(async ([args, reason]) => {
        const what = args.join(' ').slice(0, 60)
        isRefusal(t, await mqnbd(t, ...common, ...args), status, reason, `mqnbd ${what}`)
      })
    )
  }
}
