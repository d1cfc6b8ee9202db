/** What a thread of a thread pool runs. */
import { parentPort, workerData } from 'node:worker_threads'
import { bugError } from '../errors/nbd-error.ts'
import { setLogLevel, type LogLevel } from '../log/log.ts'
import { serveEntryPoints } from './serve-entry-points.ts'

export interface ThreadPoolWorkerData {
  logLevel: LogLevel
}

if (!parentPort) throw bugError('thread-pool-worker.js runs as a worker thread only')

setLogLevel((workerData as ThreadPoolWorkerData).logLevel)
serveEntryPoints(parentPort)
