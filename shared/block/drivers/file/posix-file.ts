/**
 * Block I/O on a descriptor: regular files, block devices and memory files. The drivers that use it differ in
 * how they come by the descriptor.
 *
 * Reads and writes go through the page cache. What is cached is served on the calling thread, everything else in
 * libuv's thread pool.
 *
 * @see QEMU block/file-posix.c
 */
import type { NBDError } from '../../../errors/nbd-error.ts'
import { errnoOf, systemError } from '../../../errors/system-error.ts'
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../../protocol/constants.ts'
import { blockDeviceDiscard } from '../../../syscall/block-device.ts'
import { preadNowait, preadSync, pwriteSync } from '../../../syscall/file-io.ts'
import {
  fadvise,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  fallocate,
  POSIX_FADV_WILLNEED,
  seek,
  seekNow,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE
} from '../../../syscall/file-space.ts'
import { EINVAL, EIO, ENODEV, ENOSYS, ENOTSUP, ENXIO } from '../../../syscall/libc.ts'
import { Memory } from '../../../syscall/memory.ts'
import { isCached } from '../../../syscall/page-cache.ts'
import type { BlockExtent, BlockMap, WriteZeroesOptions } from '../../block-node.ts'
import type { DirectFileState } from './direct-file.ts'
import { fileIO, type Aio, type FileIO } from './file-io.ts'
import { FileFeatures } from './file-features.ts'
import { InlineWritePolicy } from './inline-write-policy.ts'

/** What a descriptor stands for. */
export type FileKind = 'regular' | 'block-device' | 'memory'

/** Everything about an open file that another thread needs: postable. */
export interface PosixFileState {
  fd: number
  kind: FileKind
  length: number
  /** Smallest unit of discarding and zeroing on a block device; 1 for files. */
  sectorSize: number
  features: SharedArrayBuffer
  /** Who does what has to be waited for; as `fileIO` sees fit if not given. */
  aio?: Aio
  /** Flushes do nothing. */
  noFlush?: boolean
  /** It was opened with O_DIRECT. */
  direct?: DirectFileState
}

const PAGE_SIZE = 4096
const ZERO_CHUNK = 1024 * 1024
let zeroes: Memory | undefined

/** There is less than there was. */
export const beyondEnd = (offset: number): NBDError =>
  systemError(EIO, `read at ${offset}, beyond the end of a file that was longer when opened`)

/** The file system does not know this call, or not for this kind of file. */
const isUnsupported = (result: number): boolean =>
  result === -ENOTSUP || result === -ENOSYS || result === -ENODEV

export class PosixFile {
  readonly state: PosixFileState
  readonly #fd: number
  readonly #memory: boolean
  readonly #features: FileFeatures
  readonly #io: FileIO
  readonly #inlineWrites = new InlineWritePolicy()

  constructor(state: PosixFileState) {
    this.state = state
    this.#fd = state.fd
    this.#memory = state.kind === 'memory'
    this.#features = new FileFeatures(state.features)
    this.#io = fileIO(state.aio, state.direct !== undefined)
  }

  map(offset: number, out: BlockMap): boolean {
    out.fd = this.#fd
    out.offset = offset
    out.resident = this.#memory
    return true
  }

  preadNowait(address: number, offset: number, length: number): boolean {
    if (this.#memory) return preadSync(this.#fd, address, length, offset) === length
    // Where the file system cannot tell, the page cache can.
    if (!this.#features.canNowait) {
      return isCached(this.#fd, offset, length) && preadSync(this.#fd, address, length, offset) === length
    }
    const n = preadNowait(this.#fd, address, length, offset)
    if (isUnsupported(n) || n === -EINVAL) this.#features.cannotNowait()
    return n === length
  }

  async pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    for (let done = 0; done < length;) {
      const n = await this.#io.read(this.#fd, memory, at + done, offset + done, length - done)
      if (n === 0) throw beyondEnd(offset + done)
      done += n
    }
  }

  pwriteNowait(address: number, offset: number, length: number): boolean {
    if (this.#memory) return pwriteSync(this.#fd, address, length, offset) === length
    if (!this.#inlineWrites.allows(length)) return false
    this.#inlineWrites.begin()
    const n = pwriteSync(this.#fd, address, length, offset)
    this.#inlineWrites.end()
    return n === length
  }

  async pwrite(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    for (let done = 0; done < length;) {
      done += await this.#io.write(this.#fd, memory, at + done, offset + done, length - done)
    }
  }

  async pwriteZeroes(
    offset: number,
    length: number,
    { mayUnmap, noFallback }: WriteZeroesOptions
  ): Promise<void> {
    const { sectorSize } = this.state
    const start = Math.ceil(offset / sectorSize) * sectorSize
    const end = Math.floor((offset + length) / sectorSize) * sectorSize
    if (end > start && (await this.#zeroWhole(start, end - start, mayUnmap))) {
      await this.#writeZeroes(offset, start - offset)
      await this.#writeZeroes(end, offset + length - end)
      return
    }
    if (noFallback) throw systemError(ENOTSUP, 'zeroing without writing')
    await this.#writeZeroes(offset, length)
  }

  /** @returns false when neither way is known to the file system */
  async #zeroWhole(offset: number, length: number, mayUnmap: boolean): Promise<boolean> {
    this.#features.hasHoles()
    if (mayUnmap && this.#features.canPunchHole) {
      const result = await fallocate(this.#fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)
      if (result === 0) return true
      if (!isUnsupported(result)) throw systemError(-result, 'fallocate')
      this.#features.cannotPunchHole()
    }
    if (this.#features.canZeroRange) {
      const result = await fallocate(this.#fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length)
      if (result === 0) return true
      if (!isUnsupported(result)) throw systemError(-result, 'fallocate')
      this.#features.cannotZeroRange()
    }
    // tmpfs, and so a memory file, knows no ZERO_RANGE; a hole that is then filled is the same. A block device
    // would lose the data's place in between.
    if (!mayUnmap && this.state.kind !== 'block-device' && this.#features.canPunchHole) {
      const result = await fallocate(this.#fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length)
      if (result === 0) {
        const filled = await fallocate(this.#fd, FALLOC_FL_KEEP_SIZE, offset, length)
        if (filled === 0) return true
        if (!isUnsupported(filled)) throw systemError(-filled, 'fallocate')
      } else if (isUnsupported(result)) {
        this.#features.cannotPunchHole()
      } else {
        throw systemError(-result, 'fallocate')
      }
    }
    return false
  }

  async #writeZeroes(offset: number, length: number): Promise<void> {
    if (length === 0) return
    if (!zeroes) {
      zeroes = Memory.allocate(ZERO_CHUNK, PAGE_SIZE)
      zeroes.buffer.fill(0)
    }
    for (let done = 0; done < length; done += ZERO_CHUNK) {
      await this.pwrite(zeroes, 0, offset + done, Math.min(ZERO_CHUNK, length - done))
    }
  }

  async pdiscard(offset: number, length: number): Promise<void> {
    if (!this.#features.canDiscard) return
    const { kind, sectorSize } = this.state
    const start = Math.ceil(offset / sectorSize) * sectorSize
    const end = Math.floor((offset + length) / sectorSize) * sectorSize
    if (end <= start) return
    this.#features.hasHoles()
    const result =
      kind === 'block-device'
        ? await blockDeviceDiscard(this.#fd, start, end - start)
        : await fallocate(this.#fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, end - start)
    if (isUnsupported(result)) this.#features.cannotDiscard()
    else if (result !== 0) throw systemError(-result, 'discard')
  }

  async flush(): Promise<void> {
    if (this.#memory || this.state.noFlush) return
    // After a failed write-back Linux marks the pages clean and reports the failure once. A later flush that
    // succeeds would say that data is stable which is not.
    const failed = this.#features.flushErrno
    if (failed !== 0) throw systemError(failed, 'fdatasync (an earlier one failed)')
    await this.#io.fdatasync(this.#fd).catch((error: unknown) => {
      const errno = errnoOf(error) ?? EIO
      // Some special files cannot be synced and have nothing to sync.
      if (errno === EINVAL) return
      this.#features.setFlushErrno(errno)
      throw systemError(errno, 'fdatasync')
    })
  }

  async prefetch(offset: number, length: number): Promise<void> {
    if (!this.#memory) await fadvise(this.#fd, offset, length, POSIX_FADV_WILLNEED)
  }

  async blockStatus(offset: number, length: number, most: number): Promise<BlockExtent[]> {
    const end = offset + length
    const extents: BlockExtent[] = []
    for (let at = offset; at < end && extents.length < most;) {
      const data = await this.#seekWithin(at, end, SEEK_DATA)
      if (data > at) extents.push({ length: data - at, flags: NBD_STATE_HOLE | NBD_STATE_ZERO })
      if (data >= end || extents.length === most) break
      let hole = await this.#seekWithin(data, end, SEEK_HOLE)
      // Somebody made a hole between the two calls. "Data" is always a safe answer.
      if (hole === data) hole = end
      extents.push({ length: hole - data, flags: 0 })
      at = hole
    }
    return extents
  }

  /** A device would say that all of it is data. */
  get #tellsHoles(): boolean {
    return this.#features.mayHaveHoles && this.#features.canSeek && this.state.kind !== 'block-device'
  }

  /** @see BlockNode.isHole */
  async isHole(offset: number, length: number): Promise<boolean> {
    if (!this.#tellsHoles) return false
    return this.#isBefore(offset + length, await seek(this.#fd, offset, SEEK_DATA))
  }

  /** @see BlockNode.isHoleNow */
  isHoleNow(offset: number, length: number): boolean {
    if (!this.#tellsHoles) return false
    return this.#isBefore(offset + length, seekNow(this.#fd, offset, SEEK_DATA))
  }

  /** @param data what SEEK_DATA has found */
  #isBefore(end: number, data: number): boolean {
    if (data < 0 && data !== -ENXIO) this.#features.cannotSeek()
    if (data !== -ENXIO) return data >= end
    // The rest of the file is a hole, and the file may have become shorter: reading says so.
    return seekNow(this.#fd, 0, SEEK_END) >= end
  }

  /** Offset of the next data or hole, at the most `end`. Where the file system cannot tell, all is data. */
  async #seekWithin(at: number, end: number, whence: typeof SEEK_DATA | typeof SEEK_HOLE): Promise<number> {
    const unknown = whence === SEEK_DATA ? at : end
    if (!this.#features.canSeek || this.state.kind === 'block-device') return unknown
    const found = await seek(this.#fd, at, whence)
    if (found === -ENXIO) return end
    if (found >= 0) return Math.max(at, Math.min(found, end))
    this.#features.cannotSeek()
    return unknown
  }
}
