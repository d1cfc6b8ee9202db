/**
 * Regular files and block devices of this machine.
 *
 * Images are locked as QEMU locks them, so that nobody copies from or to one that a running machine writes.
 */
import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { lockImage } from '../../shared/block/drivers/file/image-lock.ts'
import { FileFeatures } from '../../shared/block/drivers/file/file-features.ts'
import { PosixFile } from '../../shared/block/drivers/file/posix-file.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { blockDeviceSectorSize, blockDeviceSize } from '../../shared/syscall/block-device.ts'
import { BlockSamples, MIN_SAMPLED_BLOCK } from '../../shared/syscall/block-samples.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { isCached, isCachedExact } from '../../shared/syscall/page-cache.ts'
import type { NBDExtent } from '../transmission/block-status.ts'
import { failure, type Destination, type PageCache, type Source } from './endpoint.ts'

/** Extents that are looked for at a time. */
const EXTENTS = 256

const DEFAULT_PREFERRED = 4096
const MAX_PREFERRED = 1024 * 1024

const close = promisify(fs.close)
const ftruncate = promisify(fs.ftruncate)

/** Which file it is, whatever its name. */
export interface FileId {
  dev: number
  ino: number
}

class FileEndpoint {
  readonly name: string
  readonly minimum = 1
  readonly preferred: number
  readonly connections = 1
  readonly id: FileId
  protected readonly fd: number
  protected readonly file: PosixFile
  protected readonly regular: boolean
  /** When it was opened. */
  protected readonly length: number
  #closed = false

  /**
   * @param fd this object's to close, when this does not throw
   * @throws NBDError of kind `config` when somebody else uses it
   */
  constructor(name: string, fd: number, { readOnly, lock }: { readOnly: boolean; lock: boolean }) {
    const stat = fs.fstatSync(fd)
    const conflict = lock ? lockImage(fd, readOnly) : undefined
    if (conflict !== undefined) throw configError(`cannot open '${name}': it is locked: ${conflict}`)
    this.name = name
    this.fd = fd
    this.id = { dev: stat.dev, ino: stat.ino }
    this.regular = stat.isFile()
    this.length = this.regular ? stat.size : blockDeviceSize(fd)
    const { blksize } = stat
    const usable = blksize >= 512 && blksize <= MAX_PREFERRED && (blksize & (blksize - 1)) === 0
    this.preferred = this.regular && usable ? blksize : DEFAULT_PREFERRED
    this.file = new PosixFile({
      fd,
      kind: this.regular ? 'regular' : 'block-device',
      length: this.length,
      sectorSize: this.regular ? 1 : blockDeviceSectorSize(fd),
      features: new FileFeatures().words
    })
  }

  async close(): Promise<void> {
    // The number may soon be another's.
    if (this.#closed) return
    this.#closed = true
    try {
      await close(this.fd)
    } catch (error) {
      throw failure(`cannot close '${this.name}'`, error)
    }
  }
}

export class FileSource extends FileEndpoint implements Source {
  readonly kind = 'random'
  readonly size: number
  readonly cache: PageCache
  /** undefined: not made yet; null: there are none, or no more. */
  #samples: BlockSamples | undefined | null = isCachedExact ? undefined : null

  constructor(name: string, fd: number, { lock = true }: { lock?: boolean } = {}) {
    super(name, fd, { readOnly: true, lock })
    this.size = this.length
    this.cache = {
      fd,
      has: (offset, length) => isCached(fd, offset, length),
      read: (offset, length, { address }) => this.file.preadNowait(address, offset, length),
      zeroStarts: (offset, length, block) => this.#zeroStarts(offset, length, block)
    }
  }

  override async close(): Promise<void> {
    this.#samples?.close()
    this.#samples = null
    await super.close()
  }

  async read(offset: number, length: number, memory: () => Memory): Promise<void> {
    const own = memory()
    // What is cached is here sooner than the thread pool has been asked.
    if (this.cache.read(offset, length, own)) return
    try {
      await this.file.pread(own, 0, offset, length)
    } catch (error) {
      throw failure(`cannot read '${this.name}' at ${offset}`, error)
    }
  }

  #zeroStarts(offset: number, length: number, block: number): number[] | undefined {
    if (block < MIN_SAMPLED_BLOCK || offset % block !== 0) return undefined
    const samples = this.#samplesOf(block)
    const starts: number[] = []
    return samples?.zeroes(this.fd, offset, length, (at) => starts.push(at)) ? starts : undefined
  }

  #samplesOf(block: number): BlockSamples | null {
    if (this.#samples === null || this.#samples?.block === block) return this.#samples
    this.#samples?.close()
    try {
      return (this.#samples = new BlockSamples(block))
    } catch {
      // All of the data can be looked at, too.
      return (this.#samples = null)
    }
  }

  async *extents(offset: number, length: number): AsyncGenerator<NBDExtent, void, undefined> {
    const end = offset + length
    for (let at = offset; at < end;) {
      for (const extent of await this.file.blockStatus(at, end - at, EXTENTS)) {
        yield { offset: at, ...extent }
        at += extent.length
      }
    }
  }
}

export class FileDestination extends FileEndpoint implements Destination {
  readonly sequential = false
  readonly sparse = true
  #size: number | undefined
  #isZero = false

  constructor(name: string, fd: number) {
    super(name, fd, { readOnly: false, lock: true })
    this.#size = this.regular ? undefined : this.length
  }

  get size(): number | undefined {
    return this.#size
  }

  get isZero(): boolean {
    return this.#isZero
  }

  async prepare(size: number | undefined): Promise<void> {
    if (!this.regular) return
    await this.#truncate(0)
    if (size !== undefined) await this.#truncate(size)
    this.#isZero = true
  }

  async write(offset: number, length: number, memory: Memory, at: number): Promise<void> {
    if (this.file.pwriteNowait(memory.address + at, offset, length)) return
    try {
      await this.file.pwrite(memory, at, offset, length)
    } catch (error) {
      throw failure(`cannot write '${this.name}' at ${offset}`, error)
    }
  }

  async zero(offset: number, length: number, allocate: boolean): Promise<void> {
    try {
      await this.file.pwriteZeroes(offset, length, { mayUnmap: !allocate, noFallback: false })
    } catch (error) {
      throw failure(`cannot write '${this.name}' at ${offset}`, error)
    }
  }

  /** What a stream ended with may have been zeroes, which were not written. */
  async finish(size: number): Promise<void> {
    if (this.regular) await this.#truncate(size)
  }

  async flush(): Promise<void> {
    try {
      await this.file.flush()
    } catch (error) {
      throw failure(`cannot flush '${this.name}'`, error)
    }
  }

  async #truncate(size: number): Promise<void> {
    try {
      await ftruncate(this.fd, size)
    } catch (error) {
      throw failure(`cannot give '${this.name}' the size of ${size} bytes`, error)
    }
  }
}
