/** From what a user names to something that is copied from or to. The code for it is loaded when there is one. */
import * as fs from 'node:fs'
import * as tty from 'node:tty'
import { configError } from '../../shared/errors/nbd-error.ts'
import { isNbdUri } from '../../shared/protocol/uri.ts'
import { closeFd, duplicateFd } from '../../shared/syscall/fd.ts'
import { isWebsocketUrl } from '../connection/websocket-url.ts'
import { failure, type Destination, type Source, type StreamSource } from './endpoint.ts'
import type { FileDestination, FileId, FileSource } from './file-endpoint.ts'
import { NBDDestination, NBDSource, type ServerOptions } from './nbd-endpoint.ts'
import { NullDestination } from './null-destination.ts'

const { O_APPEND, O_CREAT, O_RDONLY, O_RDWR } = fs.constants

/** Rights of a file that is created, less the umask. */
const MODE = 0o644

const [STDIN, STDOUT] = [0, 1]

const files = () => import('./file-endpoint.ts')
const streams = () => import('./stream-endpoint.ts')

/** Whether a name is that of a server's export, and no file. */
export const isExport = (name: string): boolean => isNbdUri(name) || isWebsocketUrl(name)

/** For a disk that is looked at once. */
const ONE_CONNECTION: ServerOptions = { connections: 1 }

/**
 * @param name an NBD URI, the URL of a WebSocket, a file, a block device, or `-`
 * @param server how one is connected to
 * @throws NBDError
 */
export async function openSource(name: string, server: ServerOptions): Promise<Source | StreamSource> {
  if (isExport(name)) return NBDSource.open(name, server)
  if (name === '-') {
    const whole = isWhole(STDIN)
    const [{ FileSource }, { StreamReader }] = await Promise.all([files(), streams()])
    const source = duplicateFd(STDIN)
    return owned(source, () => (whole ? new FileSource('-', source) : StreamReader.fromFd('-', source)))
  }
  try {
    if (isStream(name)) return await (await streams()).StreamReader.open(name)
  } catch (error) {
    throw failure(`cannot open '${name}'`, error)
  }
  return openFileSource(name)
}

/**
 * As `openSource`, for what must be read at any place.
 *
 * @param options.lock off: somebody else may write it meanwhile
 */
export async function openRandomSource(name: string, options: { lock?: boolean } = {}): Promise<Source> {
  return isExport(name) ? NBDSource.open(name, ONE_CONNECTION) : openFileSource(name, options)
}

async function openFileSource(name: string, options: { lock?: boolean } = {}): Promise<FileSource> {
  const { FileSource } = await files()
  const fd = open(name, O_RDONLY)
  return owned(fd, () => new FileSource(name, fd, options))
}

/**
 * Nothing is written yet; a file that is not there is created.
 *
 * @param name as in `openSource`, or `null:`
 * @param options.source must be something else
 * @throws NBDError
 */
export async function openDestination(
  name: string,
  server: ServerOptions,
  { flush, source }: { flush: boolean; source: Source | StreamSource }
): Promise<Destination> {
  if (name === 'null:') return new NullDestination()
  if (isExport(name)) return NBDDestination.open(name, server, flush)
  if (name === '-') {
    if (tty.isatty(STDOUT)) throw configError("cannot copy to '-': standard output is a terminal")
    if (isWhole(STDOUT)) return openFileDestination(name, () => duplicateFd(STDOUT), source)
    const { StreamWriter } = await streams()
    const fd = duplicateFd(STDOUT)
    return owned(fd, () => StreamWriter.fromFd('-', fd))
  }
  if (isStream(name)) return (await streams()).StreamWriter.open(name)
  return openFileDestination(name, () => open(name, O_RDWR | O_CREAT), source)
}

/** @param openFd the descriptor that it returns is the destination's to close */
async function openFileDestination(
  name: string,
  openFd: () => number,
  source: Source | StreamSource
): Promise<FileDestination> {
  const { FileDestination, FileSource } = await files()
  const fd = openFd()
  return owned(fd, () => {
    if (source instanceof FileSource && isSame(source.id, fs.fstatSync(fd)))
      throw configError(`cannot copy '${source.name}' to '${name}': it is the same file`)
    return new FileDestination(name, fd)
  })
}

const isSame = (one: FileId, other: FileId): boolean => one.dev === other.dev && one.ino === other.ino

/** @throws NBDError of kind `config` */
function open(name: string, flags: number): number {
  let fd: number
  try {
    fd = fs.openSync(name, flags, MODE)
  } catch (error) {
    throw failure(`cannot open '${name}'`, error)
  }
  return owned(fd, () => {
    const stat = fs.fstatSync(fd)
    if (stat.isFile() || stat.isBlockDevice()) return fd
    throw configError(`cannot open '${name}': it is ${stat.isDirectory() ? 'a directory' : 'a special file'}`)
  })
}

/** What `make` returns; when it throws, the descriptor is closed. */
function owned<T>(fd: number, make: () => T): T {
  try {
    return make()
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/** Looked at before it is opened: opening a FIFO waits for its other end. */
function isStream(name: string): boolean {
  const stat = fs.statSync(name, { throwIfNoEntry: false })
  return stat !== undefined && (stat.isFIFO() || stat.isCharacterDevice())
}

/**
 * Whether a descriptor that we were started with is a file or a block device as a whole: from its beginning, and not
 * for appending. Everything else is a stream.
 */
function isWhole(fd: number): boolean {
  const stat = fs.fstatSync(fd)
  if (!stat.isFile() && !stat.isBlockDevice()) return false
  const info = fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')
  const position = /^pos:\s*(\d+)/m.exec(info)?.[1]
  const flags = parseInt(/^flags:\s*([0-7]+)/m.exec(info)?.[1] ?? '0', 8)
  return position === '0' && (flags & O_APPEND) === 0
}
