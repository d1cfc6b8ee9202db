/** A channel with its WindowReader, as an async function reads and writes it. */
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import type { QIOChannel } from '../../../../shared/io/channel.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { send } from './channel-bytes.ts'

export class AsyncChannel {
  readonly reader: WindowReader
  readonly #channel: QIOChannel

  constructor(channel: QIOChannel) {
    this.#channel = channel
    this.reader = new WindowReader(channel)
  }

  readAllEof(memory: Memory, at: number, length: number): Promise<boolean> {
    return Coroutine.start(() => this.reader.readAllEof(memory, at, at + length))
  }

  readAll(memory: Memory, at: number, length: number): Promise<void> {
    return Coroutine.start(() => this.reader.readAll(memory, at, at + length))
  }

  receive(): Promise<number> {
    return Coroutine.start(() => this.reader.receive())
  }

  discard(length: number): Promise<void> {
    return Coroutine.start(() => this.reader.discard(length))
  }

  unread(): void {
    this.reader.unread()
  }

  /** Takes what is there, also what was given back. */
  readNow(memory: Memory, at: number, length: number): number {
    const unread = this.reader.takeUnread()
    if (unread.length === 0) return this.#channel.readv([{ memory, start: at, end: at + length }])
    const n = unread.copy(memory.buffer, at, 0, length)
    this.reader.putUnread(unread.subarray(n))
    return n
  }

  writeAll(bytes: Buffer): Promise<void> {
    return send(this.#channel, bytes)
  }
}
