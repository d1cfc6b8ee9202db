/** A server as a user of the library runs one, in the test's own process: for what the command line cannot express. */
import * as path from 'node:path'
import type { Test } from 'tap'
import { NBDServer, type NBDServerOptions } from '../../server/index.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import { openImage } from '../../shared/block/index.ts'
import { tempDir } from './temp-dir.ts'

/** How long the server waits for clients that the test has left. */
const CLOSE_MS = 5000

/** What a client must know. */
export interface Served {
  socket: string
  uri: string
}

/**
 * Serves an image under each of these names, closed with the test.
 *
 * @param exports images by export name
 */
export async function serveImages(
  t: Test,
  exports: Record<string, string>,
  options: NBDServerOptions = { iothreads: 2 }
): Promise<Served> {
  const socket = path.join(tempDir(t), 's')
  const server = await NBDServer.start(options)
  t.teardown(() => server.close(0))
  for (const [name, image] of Object.entries(exports))
    await server.addExport(await openImage({ image }), { name })
  await server.listen({ path: socket })
  return { socket, uri: `nbd+unix:///?socket=${socket}` }
}

export interface Bound extends Served {
  server: NBDServer
  threads: IOThread[]
}

/**
 * Serves memory disks of 1 MiB by threads that the test has at hand.
 *
 * @param exports numbers of the threads that serve it, by export name
 */
export async function serveBound(t: Test, count: number, exports: Record<string, number[]>): Promise<Bound> {
  const threads: IOThread[] = []
  for (let i = 0; i < count; i++) threads.push(await IOThread.start(`io${i}`))
  const socket = path.join(tempDir(t), 's')
  const server = await NBDServer.start()
  t.teardown(async () => {
    await server.close(CLOSE_MS)
    await Promise.all(threads.map((thread) => thread.stop()))
  })
  for (const [name, numbers] of Object.entries(exports)) {
    const iothreads = numbers.map((number) => threads[number]!)
    await server.addExport(await openImage({ image: 'memory:1M' }), { name, iothreads })
  }
  await server.listen({ path: socket })
  return { socket, uri: `nbd+unix:///?socket=${socket}`, server, threads }
}
