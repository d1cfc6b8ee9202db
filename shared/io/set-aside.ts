/**
 * Bytes of a connection that were received before anybody wanted them: whoever reads next gets them first.
 *
 * They are kept in memory of the thread's pool. Many connections set aside what a window holds, again and again; buffers of
 * V8's would stay until it looks for garbage.
 *
 * @context the connection's thread
 */
import type { Memory } from '../syscall/memory.ts'
import { giveMemory, takeMemory } from './memory-pool.ts'

export class SetAside {
  #memory: Memory | undefined
  #start = 0
  #end = 0

  get length(): number {
    return this.#end - this.#start
  }

  /** Puts a copy of the bytes from `start` to `end` of `from` in front of what is there. */
  putBefore(from: Buffer, start: number, end: number): void {
    const length = end - start
    if (length === 0) return
    // There is room where they were taken from.
    if (length > this.#start) this.#move(length, 0)
    this.#start -= length
    from.copy(this.#memory!.buffer, this.#start, start, end)
  }

  /** Puts a copy of the bytes from `start` to `end` of `from` behind what is there. */
  putBehind(from: Buffer, start: number, end: number): void {
    const length = end - start
    if (length === 0) return
    if (!this.#memory || this.#end + length > this.#memory.length) this.#move(0, length)
    from.copy(this.#memory!.buffer, this.#end, start, end)
    this.#end += length
  }

  /** Moves what there is to where `to` has room, from `start` up to `end`. @returns how many bytes that were */
  take(to: Buffer, start: number, end: number): number {
    this.#memory?.buffer.copy(to, start, this.#start, Math.min(this.#end, this.#start + end - start))
    return this.skip(end - start)
  }

  /** Drops up to `most` bytes. @returns how many that were */
  skip(most: number): number {
    const n = Math.min(most, this.length)
    this.#start += n
    if (this.#start === this.#end) this.clear()
    return n
  }

  /** @returns all of it, the caller's */
  takeAll(): Buffer {
    const bytes = Buffer.allocUnsafe(this.length)
    this.take(bytes, 0, bytes.length)
    return bytes
  }

  /** Drops all of it. */
  clear(): void {
    if (this.#memory) giveMemory(this.#memory)
    this.#memory = undefined
    this.#start = this.#end = 0
  }

  /** Makes room for so many bytes in front of what there is, and behind it. */
  #move(before: number, behind: number): void {
    const { length } = this
    const memory = takeMemory(before + length + behind)
    this.#memory?.buffer.copy(memory.buffer, before, this.#start, this.#end)
    if (this.#memory) giveMemory(this.#memory)
    this.#memory = memory
    this.#start = before
    this.#end = before + length
  }
}
