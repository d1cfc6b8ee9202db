/** What an IOThread runs. */
import { parentPort, workerData } from 'node:worker_threads'
import { serveEntryPoints } from '../aio/serve-entry-points.ts'
import { keepThreadEnds } from '../aio/thread-end.ts'
import { bugError } from '../errors/nbd-error.ts'
import { setLogLevel } from '../log/log.ts'
import type { IOThreadData } from './messages.ts'

if (!parentPort) throw bugError('worker.js runs as a worker thread only')

const { logLevel, keepsEnds } = workerData as IOThreadData
setLogLevel(logLevel)
if (keepsEnds) keepThreadEnds()
serveEntryPoints(parentPort)
