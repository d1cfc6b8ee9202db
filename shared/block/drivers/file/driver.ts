/**
 * The `file` driver: a regular file or a block device of this machine.
 *
 * Concurrency: multiqueue. All threads use the descriptor that the main thread opened.
 *
 * @see QEMU block/file-posix.c, drivers `file` and `host_device`
 */
import * as fs from 'node:fs'
import type { Memory } from '../../../syscall/memory.ts'
import { oneOf, required, string } from '../../../config/option-schema.ts'
import { configError } from '../../../errors/nbd-error.ts'
import { reason } from '../../../errors/system-error.ts'
import { blockDeviceSectorSize, blockDeviceSize } from '../../../syscall/block-device.ts'
import type { BlockExtent, BlockMap, BlockNode, NodeHandle, WriteZeroesOptions } from '../../block-node.ts'
import type { BlockDriver, NodeOptions } from '../../driver-registry.ts'
import { FileFeatures } from './file-features.ts'
import { lockImage } from './image-lock.ts'
import { PosixFile, type PosixFileState } from './posix-file.ts'

export interface FileOptions extends NodeOptions {
  driver: 'file'
  filename: string
  /** `off` takes no locks, and respects none. */
  locking?: 'on' | 'off'
}

export interface PosixFileHandle extends NodeHandle {
  file: PosixFileState
  readOnly: boolean
}

/** A node that is a descriptor, whatever driver opened it. */
export class PosixFileNode implements BlockNode {
  readonly driver: string
  readonly length: number
  readonly readOnly: boolean
  readonly limits = { requestAlignment: 1, optimalTransfer: 4096 }
  readonly #file: PosixFile

  constructor({ driver, file, readOnly }: PosixFileHandle) {
    this.driver = driver
    this.length = file.length
    this.readOnly = readOnly
    this.#file = new PosixFile(file)
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

  handle(): PosixFileHandle {
    return { driver: this.driver, file: this.#file.state, readOnly: this.readOnly }
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) =>
      fs.close(this.#file.state.fd, (error) => (error ? reject(error) : resolve()))
    )
  }
}

function openFile(filename: string, readOnly: boolean): number {
  const access = readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR
  try {
    // O_NONBLOCK: a FIFO must be refused, not waited for. It means nothing for what is accepted below.
    return fs.openSync(filename, access | fs.constants.O_NONBLOCK)
  } catch (error) {
    throw configError(`cannot open '${filename}'${readOnly ? '' : ' for writing'}: ${reason(error)}`, error)
  }
}

function inspect(fd: number, filename: string): PosixFileState {
  const stat = fs.fstatSync(fd)
  const features = new FileFeatures().words
  if (stat.isFile()) return { fd, kind: 'regular', length: stat.size, sectorSize: 1, features }
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

export const fileDriver: BlockDriver<FileOptions, PosixFileHandle> = {
  name: 'file',
  options: { filename: required(string), locking: oneOf('on', 'off') },

  async open(options) {
    const { filename } = options
    const readOnly = options['read-only'] ?? false
    const fd = openFile(filename, readOnly)
    try {
      const file = inspect(fd, filename)
      const conflict = options.locking === 'off' ? undefined : lockImage(fd, readOnly)
      if (conflict !== undefined) throw configError(`cannot open '${filename}': it is locked: ${conflict}`)
      return new PosixFileNode({ driver: 'file', file, readOnly })
    } catch (error) {
      fs.closeSync(fd)
      throw error
    }
  },

  attach: (handle) => new PosixFileNode(handle)
}
