/** A server in the test's own process, over a node of the driver `test-trial`. */
import * as path from 'node:path'
import type { Test } from 'tap'
import { NBDServer, type NBDServerOptions } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { openNode } from '../../shared/block/driver-registry.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import type { IOThreadProperties } from '../../shared/iothread/io-thread-properties.ts'
import type { Endpoint } from './raw-stream.ts'
import { tempDir } from './temp-dir.ts'
import {
  controlOf,
  REGISTER_TRIAL,
  registerTrial,
  type TrialControl,
  type TrialOptions
} from './trial-driver.ts'
import { waitFor } from './wait-for.ts'

/** How long the server waits for clients that the test has left. */
const CLOSE_MS = 5000

export interface TrialServerOptions {
  threads: number
  /** As `mqnbd serve` takes it. */
  image: string
  busyMs?: number
  heldBelow?: number
  /** Whether they are held back from the start. */
  held?: boolean
  /** On TCP instead of a Unix socket. */
  tcp?: boolean
  server?: NBDServerOptions
  /** Of the threads. */
  properties?: Partial<IOThreadProperties>
}

export interface TrialServer extends Endpoint {
  server: NBDServer
  threads: IOThread[]
  control: TrialControl
}

/** What ends a server. */
export interface Teardown {
  teardown: (end: () => Promise<void>) => void
}

/** Serves an image as the default export, until the test ends. @param folder for its socket */
export async function startTrial(
  t: Teardown,
  folder: string,
  trialOptions: TrialServerOptions
): Promise<TrialServer> {
  const { threads: count, image, busyMs = 0, heldBelow = 0, held = false } = trialOptions
  registerTrial()
  const threads: IOThread[] = []
  for (let i = 0; i < count; i++) {
    const thread = await IOThread.start(`io${i}`, trialOptions.properties)
    await thread.run(REGISTER_TRIAL, undefined)
    threads.push(thread)
  }
  const server = await NBDServer.start(trialOptions.server)
  t.teardown(async () => {
    await server.close(CLOSE_MS)
    await Promise.all(threads.map((thread) => thread.stop()))
  })
  const trial: TrialOptions = { driver: 'test-trial', file: await openImage({ image }), busyMs, heldBelow }
  const node = await openNode(trial)
  const control = controlOf(node)
  control.held = held
  await server.addExport(node, { iothreads: threads })
  const address = await listen(server, folder, trialOptions.tcp ?? false)
  return { server, threads, control, ...address }
}

async function listen(server: NBDServer, folder: string, tcp: boolean): Promise<Endpoint> {
  if (tcp) {
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    return { socket: undefined, uri: `nbd://127.0.0.1:${port}` }
  }
  const socket = path.join(folder, 's')
  await server.listen({ path: socket })
  return { socket, uri: `nbd+unix:///?socket=${socket}` }
}

export const serveTrial = (t: Test, options: TrialServerOptions): Promise<TrialServer> =>
  startTrial(t, tempDir(t), options)

/** Whether several threads take part in each of the server's connections, and have passed turns on more often than that. */
export async function isSpread({ server }: TrialServer, handOvers = 10): Promise<boolean> {
  const { connections } = await server.counters()
  return connections.length > 0 && connections.every((one) => one.threads > 1 && one.handOvers > handOvers)
}

/** Resolves when it `isSpread`; requests must go on meanwhile. */
export const untilSpread = (served: TrialServer, handOvers = 10): Promise<boolean> =>
  waitFor('the connections to spread over threads', () => isSpread(served, handOvers))
