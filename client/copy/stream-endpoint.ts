/** Pipes, sockets and character devices: bytes one after the other. */
import * as fs from 'node:fs'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelFile } from '../../shared/io/channel-file.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { failure, type Destination, type StreamSource } from './endpoint.ts'
import { writeZeroes } from './zeroes.ts'

export class StreamReader implements StreamSource {
  readonly kind = 'stream'
  readonly name: string
  readonly #channel: QIOChannel

  private constructor(name: string, channel: QIOChannel) {
    this.name = name
    this.#channel = channel
  }

  /** Waits, in the thread pool, until somebody has opened the other end of a FIFO. @throws NBDError of kind `transport` */
  static async open(name: string): Promise<StreamReader> {
    return new StreamReader(name, await QIOChannelFile.open(name, fs.constants.O_RDONLY))
  }

  /** @param fd this object's to close, when this does not throw @throws NBDError of kind `transport` for a terminal */
  static fromFd(name: string, fd: number): StreamReader {
    return new StreamReader(name, QIOChannelFile.fromFd(fd))
  }

  async next(memory: Memory, length: number): Promise<number> {
    try {
      return await Coroutine.start(() => this.#fill(memory, length))
    } catch (error) {
      throw failure(`cannot read '${this.name}'`, error)
    }
  }

  close(): Promise<void> {
    return this.#channel.close()
  }

  *#fill(memory: Memory, length: number): CoroutineFn<number> {
    let done = 0
    while (done < length) {
      const n = this.#channel.readv([{ memory, start: done, end: length }])
      if (n === 0) break
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* this.#channel.yield('in')
      else done += n
    }
    return done
  }
}

export class StreamWriter implements Destination {
  readonly name: string
  readonly size = undefined
  readonly minimum = 1
  readonly preferred = 4096
  readonly connections = 1
  readonly sequential = true
  readonly sparse = false
  readonly isZero = false
  readonly #channel: QIOChannel

  private constructor(name: string, channel: QIOChannel) {
    this.name = name
    this.#channel = channel
  }

  /** Waits, in the thread pool, until somebody has opened the other end of a FIFO. @throws NBDError of kind `transport` */
  static async open(name: string): Promise<StreamWriter> {
    return new StreamWriter(name, await QIOChannelFile.open(name, fs.constants.O_WRONLY))
  }

  /** @param fd this object's to close, when this does not throw @throws NBDError of kind `transport` for a terminal */
  static fromFd(name: string, fd: number): StreamWriter {
    return new StreamWriter(name, QIOChannelFile.fromFd(fd))
  }

  async prepare(): Promise<void> {
    // Goes on behind what is there.
  }

  write(_offset: number, length: number, memory: Memory, at: number): Promise<void> {
    const iov = [{ memory, start: at, end: at + length }]
    return this.#run(() => this.#channel.writevAll(iov))
  }

  zero(offset: number, length: number, _allocate: boolean, lane: number): Promise<void> {
    return writeZeroes(this, offset, length, lane)
  }

  /** The channel may still have the last piece. */
  finish(): Promise<void> {
    return this.#run(() => this.#drain())
  }

  async flush(): Promise<void> {
    // A pipe has no stable storage.
  }

  close(): Promise<void> {
    return this.#channel.close()
  }

  async #run(work: () => CoroutineFn): Promise<void> {
    try {
      await Coroutine.start(work)
    } catch (error) {
      throw failure(`cannot write '${this.name}'`, error)
    }
  }

  *#drain(): CoroutineFn {
    while (this.#channel.writev([]) === QIO_CHANNEL_ERR_BLOCK) yield* this.#channel.yield('out')
  }
}
