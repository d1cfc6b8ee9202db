import * as path from 'node:path'
import t from 'tap'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import type { IOThread } from '../../shared/iothread/io-thread.ts'
import { closeFd, duplicateFd } from '../../shared/syscall/fd.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { openDescriptors } from '../helpers/proc.ts'
import { socketPair } from '../helpers/socket-pair.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { connectedSockets } from '../unit/shared/io/channel-kinds.ts'
import { bytesReceived, END_SIZE, renewEnds, type Moved, type Task, type View } from './socket-sharers.ts'

const THREADS = 4
const CONNECTIONS = 10_000
/** Bytes each way. */
const TOTAL = 48 << 20
/** Open at once. */
const BATCH = 250

const share: EntryPoint<Task, Moved> = {
  module: new URL('./socket-sharers.js', import.meta.url).href,
  name: 'shareSockets'
}

/** Views of one end for each thread; the end's own descriptor is closed. */
function viewsOf(fd: number, memory: SharedArrayBuffer, at: number): View[] {
  const views = Array.from({ length: THREADS }, () => ({ fd: duplicateFd(fd), memory, at }))
  closeFd(fd)
  return views
}

const runAll = (threads: readonly IOThread[], tasks: Task[]): Promise<Moved[]> =>
  within('the transfers', Promise.all(threads.map((thread, i) => thread.run(share, tasks[i]!))), 120_000)

void t.test('four threads send and receive on both ends, and every byte comes in its place', async (t) => {
  const threads = await startThreads(t, THREADS)
  for (const [name, listen] of [
    ['unix', { path: path.join(tempDir(t), 's') }],
    ['tcp', { host: '127.0.0.1', port: 0 }]
  ] as const) {
    const memory = new SharedArrayBuffer(2 * END_SIZE)
    const ends = (await connectedSockets(listen)).map((fd, end) => viewsOf(fd, memory, end * END_SIZE))
    const tasks = threads.map((_, thread) => ({
      views: ends.map((views) => views[thread]!),
      total: TOTAL,
      largest: 2 << 20
    }))
    const moved = await runAll(threads, tasks)
    for (const key of ['received', 'sent'] as const) {
      const counts = moved.map((thread) => thread[key])
      t.ok(
        counts.every((count) => count > 0),
        `${name}: messages ${key} by each thread: ${counts.join(', ')}`
      )
    }
    t.same(bytesReceived(memory), [TOTAL, TOTAL], `${name}: all bytes came`)
  }
})

void t.test(
  '10,000 connections, shut down at any moment: nobody is left waiting, and no descriptor',
  async (t) => {
    const threads = await startThreads(t, THREADS)
    const memory = new SharedArrayBuffer(BATCH * 2 * END_SIZE)
    const batch = async (): Promise<void> => {
      renewEnds(memory)
      const tasks: Task[] = threads.map(() => ({ views: [], total: 1 << 30, largest: 8192, shutdowns: [] }))
      for (let i = 0; i < BATCH; i++) {
        const [shared, other] = socketPair(4096)
        const at = i * 2 * END_SIZE
        viewsOf(shared, memory, at).forEach((view, thread) => tasks[thread]!.views.push(view))
        // The peer has one thread; and one of the five views ends it.
        const ends = Math.floor(Math.random() * 5)
        if (ends < THREADS) tasks[ends]!.shutdowns!.push(tasks[ends]!.views.length - 1)
        else tasks[i % THREADS]!.shutdowns!.push(tasks[i % THREADS]!.views.length)
        tasks[i % THREADS]!.views.push({ fd: other, memory, at: at + END_SIZE })
      }
      await runAll(threads, tasks)
    }
    await batch()
    const before = openDescriptors(process.pid).length
    for (let opened = 0; opened < CONNECTIONS; opened += BATCH) await batch()
    await waitFor('the descriptors to be closed', () => openDescriptors(process.pid).length <= before)
    t.pass()
  }
)
