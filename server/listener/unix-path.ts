/** The path of a Unix socket that is to be listened on. */
import * as fs from 'node:fs'
import * as net from 'node:net'
import { dirname } from 'node:path'
import { configError } from '../../shared/errors/nbd-error.ts'
import { errnoName, errnoOf, reason } from '../../shared/errors/system-error.ts'

/** sun_path has 108 bytes, with the NUL at the end. */
const MAX_PATH = 107

/** Whether it is a name in Linux's abstract namespace: no file, and gone with its last socket. @see unix(7) */
const isAbstract = (path: string): boolean => path.startsWith('\0')

/** As ss and others show it. */
export const shownPath = (path: string): string => (isAbstract(path) ? `@${path.slice(1)}` : path)

/**
 * Clears the way for listening: removes a socket that a dead server left behind. Changes nothing else.
 *
 * @throws NBDError of kind `config` when a live server is behind the path, or something that is no socket
 */
export async function claimUnixPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_PATH) {
    throw configError(
      `cannot listen on '${shownPath(path)}': the path of a socket is at most ${MAX_PATH} bytes long`
    )
  }
  if (isAbstract(path)) return
  if (!fs.existsSync(dirname(path))) {
    throw configError(`cannot listen on '${path}': there is no such directory`)
  }
  const stat = fs.lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return
  if (!stat.isSocket()) throw configError(`cannot listen on '${path}': it exists and is not a socket`)
  if (await isAlive(path)) throw configError(`cannot listen on '${path}': another server is listening there`)
  try {
    fs.unlinkSync(path)
  } catch (error) {
    throw configError(`cannot remove the stale socket '${path}': ${reason(error)}`, error)
  }
}

function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // Only a refusal says that nobody listens; a full backlog, say, is a live server.
    socket.once('error', (error) => resolve(errnoName(errnoOf(error) ?? 0) !== 'ECONNREFUSED'))
  })
}
