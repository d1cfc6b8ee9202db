/**
 * The log, for operators: JSON lines on standard error, from every thread. The data path never logs.
 *
 * - fatal, error: the server, or an export, cannot go on
 * - warn: a peer broke the protocol; something was done that the operator should look at
 * - info: connections come and go
 * - debug: each option and each failed request
 *
 * pino is loaded with the first line: it takes a third of what Node takes to start, in each thread, and most have
 * nothing to say.
 */
import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import type * as Pino from 'pino'

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]
type LineLevel = Exclude<LogLevel, 'silent'>

/** `err` is told with its stack. */
type Line = [message: string] | [fields: object, message: string]

/** pino's numbers. */
const RANKS: Record<LogLevel, number> = {
  fatal: 60,
  error: 50,
  warn: 40,
  info: 30,
  debug: 20,
  silent: Infinity
}

let level: LogLevel = 'warn'
let logger: Pino.Logger | undefined

/** The log of this thread. */
export const log: Record<LineLevel, (...line: Line) => void> = {
  fatal: (...line) => write('fatal', line),
  error: (...line) => write('error', line),
  warn: (...line) => write('warn', line),
  info: (...line) => write('info', line),
  debug: (...line) => write('debug', line)
}

/** Sets the level of this thread's log. */
export function setLogLevel(to: LogLevel): void {
  level = to
}

/** The level of this thread's log, for handing to another thread. */
export const logLevel = (): LogLevel => level

function write(of: LineLevel, line: Line): void {
  if (RANKS[of] < RANKS[level]) return
  try {
    logger ??= makeLogger()
  } catch {
    // Without a descriptor left its code cannot be read; and that there is none may be what is to be told.
    fs.writeSync(2, bareLine(of, line))
    return
  }
  // One of its two forms, which TypeScript cannot tell apart behind a spread.
  logger[of](...(line as [object, string]))
}

function makeLogger(): Pino.Logger {
  const { pino } = createRequire(import.meta.url)('pino') as typeof Pino
  // Levels are told here; synchronous, so that the last words of a dying process are not lost.
  const destination = pino.destination({ fd: 2, sync: true })
  return pino({ level: 'debug', base: { pid: process.pid } }, destination)
}

function bareLine(of: LineLevel, line: Line): string {
  const [fields, msg] = line.length === 2 ? line : [{}, line[0]]
  const told = { level: RANKS[of], time: Date.now(), pid: process.pid, ...fields, msg }
  return `${JSON.stringify(told, (_key, value: unknown) => (value instanceof Error ? value.message : value))}\n`
}
