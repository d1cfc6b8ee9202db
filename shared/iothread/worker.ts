/** What an IOThread runs: it imports what it is told to, and knows none of it beforehand. */
import { parentPort, workerData } from 'node:worker_threads'
import { bugError } from '../errors/nbd-error.ts'
import { marshalError } from '../errors/marshal.ts'
import { setLogLevel } from '../log/log.ts'
import type { IOThreadData, RanMessage, RunMessage } from './messages.ts'

if (!parentPort) throw bugError('worker.js runs as a worker thread only')
const port = parentPort

setLogLevel((workerData as IOThreadData).logLevel)

async function run({ id, module, name, argument }: RunMessage): Promise<RanMessage> {
  try {
    const exported = (await import(module)) as Record<string, unknown>
    const entry = exported[name]
    if (typeof entry !== 'function') throw bugError(`${module} exports no function '${name}'`)
    return { id, result: await (entry as (argument: unknown) => unknown)(argument) }
  } catch (error) {
    return { id, error: marshalError(error) }
  }
}

port.on('message', (message: RunMessage) => {
  void run(message).then((ran) => port.postMessage(ran))
})
