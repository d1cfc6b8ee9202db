/** What the main thread gives to a new IOThread. */
import type { LogLevel } from '../log/log.ts'

export interface IOThreadData {
  id: string
  logLevel: LogLevel
}
