/** What a job of the thread pool costs. */
import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { MessageChannel } from 'node:worker_threads'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { ThreadPool } from '../../shared/aio/thread-pool.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { threadPoolSubmitCo } from '../../shared/coroutine/thread-pool-co.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import { measure, printTable } from './measure.ts'

/** Jobs that are submitted together. */
const BURST = 64

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./core-tasks.js', import.meta.url).href,
  name
})
const ADD_ONE = task<number, number>('addOne')

const read = promisify(fs.read)

async function together(count: number, one: (i: number) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < count; i += BURST) {
    await Promise.all(Array.from({ length: Math.min(BURST, count - i) }, (_, j) => one(i + j)))
  }
}

export async function throughThreadPool(count: number, rounds: number): Promise<void> {
  const pool = new ThreadPool({ max: 1 })
  const pair = new ThreadPool({ min: 2, max: 2 })
  const thread = await IOThread.start('io0')
  const { port1, port2 } = new MessageChannel()
  await thread.run(task('echo'), { to: port2, burst: 1 }, [port2])
  const fd = fs.openSync(process.execPath, 'r')
  const bytes = Buffer.alloc(16)
  const readSome = (): Promise<unknown> => read(fd, bytes, 0, bytes.length, 0)

  const figures = await measure(
    [
      {
        name: 'postMessage, there and back',
        run: async (n) => {
          for (let i = 0; i < n; i++) {
            const back = new Promise((resolve) => port1.once('message', resolve))
            port1.postMessage(0)
            await back
          }
        }
      },
      {
        name: "fs.read of 16 bytes, in libuv's pool",
        run: async (n) => {
          for (let i = 0; i < n; i++) await readSome()
        }
      },
      {
        name: 'thread pool: submit, result',
        run: async (n) => {
          for (let i = 0; i < n; i++) await pool.submit(ADD_ONE, i).result
        }
      },
      {
        name: 'thread pool: submit from a coroutine',
        run: (n) =>
          Coroutine.start(function* (): CoroutineFn {
            for (let i = 0; i < n; i++) yield* threadPoolSubmitCo(ADD_ONE, i, pool)
          })
      },
      { name: `fs.read, ${BURST} together`, run: (n) => together(n, readSome) },
      {
        name: `thread pool of 1, ${BURST} together`,
        run: (n) => together(n, (i) => pool.submit(ADD_ONE, i).result)
      },
      {
        name: `thread pool of 2, ${BURST} together`,
        run: (n) => together(n, (i) => pair.submit(ADD_ONE, i).result)
      }
    ],
    count,
    rounds
  )
  printTable('Thread pool', figures, 'postMessage, there and back')

  fs.closeSync(fd)
  port1.close()
  await Promise.all([pool.close(), pair.close(), thread.stop()])
}
