/** Code of a test in another thread. */
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import { within } from './wait-for.ts'

/**
 * Runs an exported function of a module in a worker of its own: `task(argument)`.
 *
 * @param module URL of the compiled module, which must do nothing else when it is imported
 * @returns its result; the worker ends then, or with the test
 */
export function inThread<T>(
  t: Test,
  module: string,
  task: string,
  argument: unknown,
  timeoutMs = 60_000
): Promise<T> {
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.module).then(async (exports) => {
      parentPort.postMessage({ result: await exports[workerData.task](workerData.argument) })
      process.exit(0)
    })`
  const worker = new Worker(code, { eval: true, workerData: { module, task, argument } })
  t.teardown(async () => {
    await worker.terminate()
  })
  const result = new Promise<T>((resolve, reject) => {
    worker.once('message', ({ result }: { result: T }) => resolve(result))
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error(`${task} ended without a result`)))
  })
  return within(task, result, timeoutMs)
}
