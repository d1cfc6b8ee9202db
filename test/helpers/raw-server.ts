/** A server as a user of the library runs one, in the test's own process: for what the command line cannot express. */
import * as path from 'node:path'
import type { Test } from 'tap'
import { NBDServer, type NBDServerOptions } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { tempDir } from './temp-dir.ts'

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
