/**
 * Block I/O around the page cache: on a descriptor that was opened with O_DIRECT.
 *
 * It takes whole blocks only. What a file has behind its last block cannot be written so without growing the file, and goes
 * through the page cache, by a descriptor of its own; blocks are then so long that no other block shares a page, or a block
 * of the file system, with that rest.
 *
 * @see O_DIRECT in open(2)
 */
import type { Memory } from '../../../syscall/memory.ts'
import { fileIO, type FileIO } from './file-io.ts'
import { beyondEnd, PosixFile, type PosixFileState } from './posix-file.ts'

/** What O_DIRECT asks for: postable. */
export interface DirectFileState {
  /** Of offsets and lengths. */
  requestAlignment: number
  /** Of addresses. */
  memoryAlignment: number
  /** For what is behind the last whole block; undefined when there is nothing. */
  tailFd: number | undefined
}

export class DirectFile extends PosixFile {
  readonly #io: FileIO
  readonly #alignment: number
  readonly #tailStart: number
  readonly #tail: PosixFile | undefined

  constructor(state: PosixFileState, { requestAlignment, tailFd }: DirectFileState) {
    super(state)
    this.#io = fileIO(state.aio, true)
    this.#alignment = requestAlignment
    this.#tailStart = state.length - (state.length % requestAlignment)
    this.#tail = tailFd === undefined ? undefined : new PosixFile({ ...state, fd: tailFd, aio: 'threads' })
  }

  override map(): boolean {
    return false
  }

  override preadNowait(): boolean {
    return false
  }

  override async pread(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    const { fd, length: end } = this.state
    for (let done = 0; done < length;) {
      const n = await this.#io.read(fd, memory, at + done, offset + done, length - done)
      done += n
      if (offset + done >= end) {
        memory.buffer.fill(0, at + done, at + length)
        return
      }
      // Anywhere else it reads whole blocks.
      if (n === 0 || n % this.#alignment !== 0) throw beyondEnd(offset + done)
    }
  }

  override pwriteNowait(): boolean {
    return false
  }

  override pwrite(memory: Memory, at: number, offset: number, length: number): Promise<void> {
    if (offset >= this.#tailStart) return this.#tail!.pwrite(memory, at, offset, length)
    return super.pwrite(memory, at, offset, length)
  }

  /** There is no cache to bring anything into. */
  override async prefetch(): Promise<void> {}
}
