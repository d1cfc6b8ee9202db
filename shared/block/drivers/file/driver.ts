/**
 * The `file` driver: a regular file or a block device of this machine.
 *
 * Concurrency: multiqueue. All threads use the descriptor that the main thread opened.
 *
 * @see QEMU block/file-posix.c, drivers `file` and `host_device`
 */
import * as fs from 'node:fs'
import { checkIOUring } from '../../../aio/linux-io-uring.ts'
import type { Memory } from '../../../syscall/memory.ts'
import { boolean, object, oneOf, required, string } from '../../../config/option-schema.ts'
import { configError, type NBDError } from '../../../errors/nbd-error.ts'
import { errnoOf, reason } from '../../../errors/system-error.ts'
import { blockDeviceSectorSize, blockDeviceSize } from '../../../syscall/block-device.ts'
import { directAlignment } from '../../../syscall/direct-io.ts'
import { setBlocking } from '../../../syscall/fd.ts'
import { EINVAL } from '../../../syscall/libc.ts'
import { AlignedNode } from '../../aligned-node.ts'
import type {
  BlockExtent,
  BlockLimits,
  BlockMap,
  BlockNode,
  NodeHandle,
  WriteZeroesOptions
} from '../../block-node.ts'
import type { BlockDriver, NodeOptions } from '../../driver-registry.ts'
import { AIO, type Aio } from './file-io.ts'
import { DirectFile, type DirectFileState } from './direct-file.ts'
import { FileFeatures } from './file-features.ts'
import { lockImage } from './image-lock.ts'
import { PosixFile, type PosixFileState } from './posix-file.ts'

const PAGE_SIZE = 4096
/** Memory for requests begins at a page. */
const MAX_MEMORY_ALIGNMENT = PAGE_SIZE
/** Some file systems call block size what they like to transfer. */
const MAX_TAIL_ALIGNMENT = 64 * 1024

export interface FileOptions extends NodeOptions {
  driver: 'file'
  filename: string
  /** `off` takes no locks, and respects none. */
  locking?: 'on' | 'off'
  cache?: {
    /** Around the page cache, by O_DIRECT. */
    direct?: boolean
    /** Flushes do nothing. @see BDRV_O_NO_FLUSH */
    'no-flush'?: boolean
  }
  /** Who does what has to be waited for. */
  aio?: Aio
}

export interface PosixFileHandle extends NodeHandle {
  file: PosixFileState
  readOnly: boolean
  /** Of an AlignedNode, if it is one. */
  tracked?: SharedArrayBuffer
}

/** A node that is a descriptor, whatever driver opened it. */
export class PosixFileNode implements BlockNode {
  readonly driver: string
  readonly length: number
  readonly readOnly: boolean
  readonly limits: BlockLimits
  readonly #file: PosixFile

  constructor({ driver, file, readOnly }: PosixFileHandle) {
    this.driver = driver
    this.length = file.length
    this.readOnly = readOnly
    const { requestAlignment = 1, memoryAlignment = 1 } = file.direct ?? {}
    this.limits = { requestAlignment, memoryAlignment, optimalTransfer: 4096 }
    this.#file = file.direct ? new DirectFile(file, file.direct) : new PosixFile(file)
  }

  map(offset: number, _length: number, out: BlockMap): boolean {
    return this.#file.map(offset, out)
  }

  preadNowait(address: number, offset: number, length: number): boolean {
    return this.#file.preadNowait(address, offset, length)
  }

  pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    return this.#file.pread(memory, at, offset, length)
  }

  pwriteNowait(address: number, offset: number, length: number): boolean {
    return this.#file.pwriteNowait(address, offset, length)
  }

  pwrite(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    return this.#file.pwrite(memory, at, offset, length)
  }

  pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    return this.#file.pwriteZeroes(offset, length, options)
  }

  pdiscard(offset: number, length: number): Promise<void> {
    return this.#file.pdiscard(offset, length)
  }

  flush(): Promise<void> {
    return this.readOnly ? Promise.resolve() : this.#file.flush()
  }

  prefetch(offset: number, length: number): Promise<void> {
    return this.#file.prefetch(offset, length)
  }

  blockStatus(offset: number, length: number, most: number): Promise<BlockExtent[]> {
    return this.#file.blockStatus(offset, length, most)
  }

  isHole(offset: number, length: number): Promise<boolean> {
    return this.#file.isHole(offset, length)
  }

  isHoleNow(offset: number, length: number): boolean {
    return this.#file.isHoleNow(offset, length)
  }

  handle(): PosixFileHandle {
    return { driver: this.driver, file: this.#file.state, readOnly: this.readOnly }
  }

  async close(): Promise<void> {
    const { fd, direct } = this.#file.state
    if (direct?.tailFd !== undefined) fs.closeSync(direct.tailFd)
    await new Promise<void>((resolve, reject) => fs.close(fd, (error) => (error ? reject(error) : resolve())))
  }
}

const accessMode = (readOnly: boolean): number => (readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR)

function openFile(filename: string, readOnly: boolean, direct: boolean): number {
  try {
    // O_NONBLOCK: a FIFO must be refused, not waited for.
    const flags = fs.constants.O_NONBLOCK | (direct ? fs.constants.O_DIRECT : 0)
    return fs.openSync(filename, accessMode(readOnly) | flags)
  } catch (error) {
    if (direct && errnoOf(error) === EINVAL) throw noDirect(filename)
    throw configError(`cannot open '${filename}'${readOnly ? '' : ' for writing'}: ${reason(error)}`, error)
  }
}

const noDirect = (filename: string): NBDError =>
  configError(`cannot open '${filename}' with cache.direct=on: its file system does not support O_DIRECT`)

/** Bytes of what st_blocks counts. */
const STAT_BLOCK = 512

function inspect(fd: number, filename: string): PosixFileState {
  const stat = fs.fstatSync(fd)
  const known = new FileFeatures()
  const features = known.words
  if (stat.isFile()) {
    if (stat.blocks * STAT_BLOCK < stat.size) known.hasHoles()
    return { fd, kind: 'regular', length: stat.size, sectorSize: 1, features }
  }
  if (stat.isBlockDevice()) {
    return {
      fd,
      kind: 'block-device',
      length: blockDeviceSize(fd),
      sectorSize: blockDeviceSectorSize(fd),
      features
    }
  }
  const kind = stat.isDirectory()
    ? 'a directory'
    : stat.isCharacterDevice()
      ? 'a character device'
      : 'a special file'
  throw configError(`cannot open '${filename}': it is ${kind}, not a regular file or a block device`)
}

/** @throws NBDError of kind `config` where there is no io_uring */
function checkAvailable(): void {
  try {
    checkIOUring()
  } catch (error) {
    throw configError(`aio=io_uring is not available: ${(error as Error).message}`, error)
  }
}

/** @throws NBDError of kind `config` when the file knows no O_DIRECT */
function inspectDirect(
  { fd, length, kind, sectorSize }: PosixFileState,
  options: FileOptions
): DirectFileState {
  const alignment = directAlignment(fd)
  if (!alignment || alignment.memory > MAX_MEMORY_ALIGNMENT) throw noDirect(options.filename)
  const { memory: memoryAlignment } = alignment
  const request = Math.max(alignment.request, sectorSize)
  if (kind === 'block-device' || length % request === 0)
    return { requestAlignment: request, memoryAlignment, tailFd: undefined }
  // What is left over is written through the page cache: no block may share a page with it, or a block of the file system.
  const same = `/proc/self/fd/${fd}`
  const { bsize } = fs.statfsSync(same)
  const requestAlignment = Math.max(request, PAGE_SIZE, Math.min(bsize, MAX_TAIL_ALIGNMENT))
  const tailFd = fs.openSync(same, accessMode(options['read-only'] ?? false))
  return { requestAlignment, memoryAlignment, tailFd }
}

/** The view of a node that was opened, in this or another thread. */
function nodeOf(handle: PosixFileHandle): BlockNode {
  const node = new PosixFileNode(handle)
  return handle.file.direct ? new AlignedNode(node, handle.tracked) : node
}

export const fileDriver: BlockDriver<FileOptions, PosixFileHandle> = {
  name: 'file',
  options: {
    filename: required(string),
    locking: oneOf('on', 'off'),
    cache: object({ direct: boolean, 'no-flush': boolean }),
    aio: oneOf(...AIO)
  },

  async open(options) {
    const { filename } = options
    const readOnly = options['read-only'] ?? false
    const direct = options.cache?.direct ?? false
    if (options.aio === 'io_uring') checkAvailable()
    const fd = openFile(filename, readOnly, direct)
    try {
      const file = inspect(fd, filename)
      // For io_uring it means something also for files: not to wait.
      setBlocking(fd)
      const conflict = options.locking === 'off' ? undefined : lockImage(fd, readOnly)
      if (conflict !== undefined) throw configError(`cannot open '${filename}': it is locked: ${conflict}`)
      if (options.aio) file.aio = options.aio
      if (options.cache?.['no-flush']) file.noFlush = true
      if (direct) file.direct = inspectDirect(file, options)
      return nodeOf({ driver: 'file', file, readOnly })
    } catch (error) {
      fs.closeSync(fd)
      throw error
    }
  },

  attach: nodeOf
}
