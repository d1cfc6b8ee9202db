/**
 * The log, for operators: JSON lines on standard error, from every thread. The data path never logs.
 *
 * - fatal, error: the server, or an export, cannot go on
 * - warn: a peer broke the protocol; something was done that the operator should look at
 * - info: connections come and go
 * - debug: each option and each failed request
 */
import { pino, type Logger } from 'pino'

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'silent'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** The log of this thread. */
export const log: Logger = pino(
  { level: 'warn', base: { pid: process.pid } },
  // Synchronous, so that the last words of a dying process are not lost.
  pino.destination({ fd: 2, sync: true })
)

/** Sets the level of this thread's log. */
export function setLogLevel(level: LogLevel): void {
  log.level = level
}

/** The level of this thread's log, for handing to another thread. */
export const logLevel = (): LogLevel => log.level as LogLevel
