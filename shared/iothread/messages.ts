/** What the main thread gives to a new IOThread. */
import type { LogLevel } from '../log/log.ts'

export interface IOThreadData {
  id: string
  logLevel: LogLevel
  /** It ends only as `IOThread.stop` ends it, or by a fault: it is not the thread of a worker that others may end. */
  keepsEnds: boolean
}
