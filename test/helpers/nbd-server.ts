/**
 * nbd-server, serving one client. It is kept from making processes of its own, which would outlive the test; so it ends
 * with its first client, and must not be asked whether it is there.
 */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'
import { Launched } from './launched.ts'
import { newerCommand, sharedFolder } from './newer-debian.ts'
import { program } from './requires.ts'
import { tempDir } from './temp-dir.ts'
import { waitFor } from './wait-for.ts'

export interface NbdServerOptions {
  /** Bytes of the image, which is one hole. */
  size: number
  /** Lines of the section [generic]. */
  generic?: string[]
  /** Lines of the section of the export, `disk`. */
  disk?: string[]
  /** That of Debian 13. */
  newer?: boolean
}

export interface NbdServer {
  process: Launched
  /** Of the export `disk`; to be tried again until the server listens (`openTimeoutMs`). */
  uri: string
  image: string
}

export async function serveNbdServer(
  t: Test,
  { size, generic = [], disk = [], newer = false }: NbdServerOptions
): Promise<NbdServer> {
  const own = newer ? undefined : tempDir(t)
  const { inside, outside } = own === undefined ? sharedFolder(t) : { inside: own, outside: own }
  const image = path.join(outside, 'image')
  fs.writeFileSync(image, '')
  fs.truncateSync(image, size)
  const config = [
    ...['[generic]', `unixsock = ${inside}/s`, ...generic],
    ...['[disk]', `exportname = ${inside}/image`, ...disk]
  ]
  fs.writeFileSync(path.join(outside, 'config'), `${config.join('\n')}\n`)
  const args = ['-d', '-C', `${inside}/config`]
  const [command, all] = newer ? newerCommand('nbd-server', args) : [program('nbd-server'), args]
  const launched = new Launched(t, command, all)
  const socket = path.join(outside, 's')
  await waitFor('nbd-server to listen', () => {
    if (launched.ended) throw new Error(`nbd-server has ended: ${launched.stdout}${launched.stderr}`)
    return fs.existsSync(socket)
  })
  return { process: launched, uri: `nbd+unix:///disk?socket=${socket}`, image }
}
