/** From what a user names to something that is copied from or to. */
import * as fs from 'node:fs'
import * as tty from 'node:tty'
import { configError } from '../../shared/errors/nbd-error.ts'
import { QIOChannelFile } from '../../shared/io/channel-file.ts'
import { isNbdUri } from '../../shared/protocol/uri.ts'
import { closeFd, duplicateFd } from '../../shared/syscall/fd.ts'
import { failure, type Destination, type Source, type StreamSource } from './endpoint.ts'
import { FileDestination, FileSource, type FileId } from './file-endpoint.ts'
import { NBDDestination, NBDSource, type ServerOptions } from './nbd-endpoint.ts'
import { NullDestination } from './null-destination.ts'
import { StreamReader, StreamWriter } from './stream-endpoint.ts'

const { O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants

/** Rights of a file that is created, less the umask. */
const MODE = 0o644

const [STDIN, STDOUT] = [0, 1]

/** For a disk that is looked at once. */
const ONE_CONNECTION: ServerOptions = { connections: 1 }

/**
 * @param name an NBD URI, a file, a block device, or `-`
 * @param server how one is connected to
 * @throws NBDError
 */
export async function openSource(name: string, server: ServerOptions): Promise<Source | StreamSource> {
  if (isNbdUri(name)) return NBDSource.open(name, server)
  if (name === '-') {
    const source = duplicateFd(STDIN)
    if (isWhole(STDIN)) return owned(source, () => new FileSource('-', source))
    return owned(source, () => new StreamReader('-', QIOChannelFile.fromFd(source)))
  }
  try {
    if (isStream(name)) return new StreamReader(name, await QIOChannelFile.open(name, O_RDONLY))
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
  return isNbdUri(name) ? NBDSource.open(name, ONE_CONNECTION) : openFileSource(name, options)
}

function openFileSource(name: string, options: { lock?: boolean } = {}): FileSource {
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
  if (isNbdUri(name)) return NBDDestination.open(name, server, flush)
  if (name === '-') {
    if (tty.isatty(STDOUT)) throw configError("cannot copy to '-': standard output is a terminal")
    const fd = duplicateFd(STDOUT)
    if (isWhole(STDOUT)) return fileDestination(name, fd, source)
    return owned(fd, () => new StreamWriter('-', QIOChannelFile.fromFd(fd)))
  }
  if (isStream(name)) return new StreamWriter(name, await QIOChannelFile.open(name, O_WRONLY))
  return fileDestination(name, open(name, O_RDWR | O_CREAT), source)
}

function fileDestination(name: string, fd: number, source: Source | StreamSource): FileDestination {
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
