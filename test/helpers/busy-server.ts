/** A server whose reads keep their thread busy, with IOThreads that the test has at hand. */
import * as path from 'node:path'
import type { Test } from 'tap'
import { NBDServer } from '../../server/index.ts'
import { openNode } from '../../shared/block/driver-registry.ts'
import type { BlockNode } from '../../shared/block/block-node.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import { REGISTER_BUSY, registerBusy, type BusyOptions } from './busy-driver.ts'
import { tempDir } from './temp-dir.ts'

/** How long the server waits for clients that the test has left. */
const CLOSE_MS = 5000

export interface BusyServer {
  server: NBDServer
  threads: IOThread[]
  socket: string
  uri: string
  node: BlockNode
}

/** Serves one disk of `size` bytes as the default export, until the test ends. */
export async function serveBusy(
  t: Test,
  { threads: count, size, busyMs }: { threads: number; size: number; busyMs: number }
): Promise<BusyServer> {
  registerBusy()
  const threads: IOThread[] = []
  for (let i = 0; i < count; i++) {
    const thread = await IOThread.start(`io${i}`)
    await thread.run(REGISTER_BUSY, undefined)
    threads.push(thread)
  }
  const server = await NBDServer.start()
  t.teardown(async () => {
    await server.close(CLOSE_MS)
    await Promise.all(threads.map((thread) => thread.stop()))
  })
  const options: BusyOptions = { driver: 'test-busy', size, busyMs }
  const node = await openNode(options)
  await server.addExport(node, { iothreads: threads })
  const socket = path.join(tempDir(t), 's')
  await server.listen({ path: socket })
  return { server, threads, socket, uri: `nbd+unix:///?socket=${socket}`, node }
}
