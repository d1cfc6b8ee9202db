/**
 * What goes back to the client, in order, in as few system calls as may be.
 *
 * Replies are built one behind the other in a piece of memory (the arena) and leave together at `flush`. Large data
 * goes along without being copied: from memory of its own, or straight from a file by sendfile. Where the socket is
 * full, a coroutine waits for room and sends what is queued; replies that are made meanwhile queue up behind.
 *
 * @context the connection's IOThread
 */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import type { BlockMap } from '../../shared/block/block-node.ts'
import { preadSync } from '../../shared/syscall/file-io.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { MAX_GATHER, MSG_MORE, setGather } from '../../shared/syscall/socket.ts'

/** Replies that are gathered before they are sent anyway. */
const ARENA_SIZE = 256 * 1024
/** What one reply may take of it. */
export const MAX_RESERVE = 128 * 1024
/** What is handed to node:net to wait with. */
const WAIT_PIECE = 64 * 1024

interface MemorySegment {
  memory: Memory
  start: number
  end: number
  /** The arena is still being filled; all else is given back when it has been sent. */
  arena: boolean
}

interface FileSegment {
  file: number
  start: number
  end: number
}

type Segment = MemorySegment | FileSegment

export class ReplyWriter {
  readonly #channel: QIOChannelSocket
  readonly #onError: (error: unknown) => void
  #queue: Segment[] = []
  /** The last segment of the queue, when replies are being built in it. */
  #arena: MemorySegment | undefined
  #waiting: Promise<void> | undefined
  #broken = false
  /** Bytes of memory that wait to be sent. */
  queuedBytes = 0

  /** @param onError told once, when the connection can take no more replies */
  constructor(channel: QIOChannelSocket, onError: (error: unknown) => void) {
    this.#channel = channel
    this.#onError = onError
  }

  /** The socket is full; replies queue up. */
  get blocked(): boolean {
    return this.#waiting !== undefined
  }

  /** Where a reply can be built: `arena.memory`, from `arena.end`; `size` (up to MAX_RESERVE) bytes are free there. */
  reserve(size: number): MemorySegment {
    let arena = this.#arena
    if (arena && arena.end + size > arena.memory.length) {
      this.#sealArena()
      this.#send()
      arena = this.#arena
    }
    if (!arena) {
      arena = { memory: takeMemory(ARENA_SIZE), start: 0, end: 0, arena: true }
      this.#arena = arena
      this.#queue.push(arena)
    }
    return arena
  }

  /** Adds the `size` bytes that were built behind the arena's end. */
  commit(size: number): void {
    if (!this.#arena) return
    this.#arena.end += size
    this.queuedBytes += size
  }

  /** Adds bytes of `memory`, which came from the pool and goes back there when they are sent. */
  pushMemory(memory: Memory, start: number, end: number): void {
    this.#sealArena()
    this.#queue.push({ memory, start, end, arena: false })
    this.queuedBytes += end - start
  }

  /** Adds a part of a file. */
  pushFile({ fd, offset }: BlockMap, length: number): void {
    this.#sealArena()
    this.#queue.push({ file: fd, start: offset, end: offset + length })
  }

  /** Sends what is there, as far as the socket takes it. */
  flush(): void {
    if (this.#queue.length > 0) this.#send()
  }

  /** Resolves when all is sent, or the connection is broken. */
  async drain(): Promise<void> {
    this.flush()
    while (this.#waiting) await this.#waiting
  }

  #sealArena(): void {
    if (this.#arena) this.#arena.arena = false
    this.#arena = undefined
  }

  #send(): void {
    if (this.#waiting) return
    if (this.#broken) {
      this.#drop()
      return
    }
    try {
      if (this.#sendNow()) return
      this.#waiting = this.#sendLater().finally(() => {
        this.#waiting = undefined
      })
    } catch (error) {
      this.#break(error)
    }
  }

  /** @returns false when the socket is full */
  #sendNow(): boolean {
    const queue = this.#queue
    while (queue.length > 0) {
      const head = queue[0]!
      const sent = 'file' in head ? this.#sendFile(head) : this.#sendMemory(head)
      if (sent === QIO_CHANNEL_ERR_BLOCK) return false
      this.#consume(sent)
    }
    return true
  }

  #sendFile(head: FileSegment): number {
    const sent = this.#channel.sendfile(head.file, head.start, head.end - head.start)
    if (sent === 0) throw new NBDError('transport', 'the image has become shorter while it was read')
    return sent
  }

  #sendMemory(head: MemorySegment): number {
    const queue = this.#queue
    // Room was reserved that nobody used.
    if (head.start === head.end) return 0
    if (queue.length === 1) return this.#channel.send(head.memory.address + head.start, head.end - head.start)
    let count = 0
    let next: Segment | undefined = head
    while (next && !('file' in next) && count < MAX_GATHER) {
      setGather(count++, next.memory.address + next.start, next.end - next.start)
      next = queue[count]
    }
    return this.#channel.sendGather(count, next ? MSG_MORE : 0)
  }

  /** Takes `sent` bytes off the queue. */
  #consume(sent: number): void {
    const queue = this.#queue
    while (queue.length > 0) {
      const head = queue[0]!
      const taken = Math.min(sent, head.end - head.start)
      head.start += taken
      sent -= taken
      if (!('file' in head)) this.queuedBytes -= taken
      if (head.start < head.end) return
      queue.shift()
      this.#release(head)
    }
  }

  #release(segment: Segment): void {
    if ('file' in segment) return
    if (segment.arena) this.#arena = undefined
    giveMemory(segment.memory)
  }

  async #sendLater(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        // What is being sent must not be built in.
        this.#sealArena()
        const head = this.#queue[0]!
        const length = Math.min(WAIT_PIECE, head.end - head.start)
        await this.#channel.writeAll(this.#piece(head, length))
        this.#consume(length)
        this.#sendNow()
      }
    } catch (error) {
      this.#break(error)
    }
  }

  #piece(head: Segment, length: number): Buffer {
    if (!('file' in head)) return head.memory.buffer.subarray(head.start, head.start + length)
    const memory = takeMemory(length)
    const n = preadSync(head.file, memory.address, length, head.start)
    const bytes = Buffer.from(memory.buffer.subarray(0, Math.max(n, 0)))
    giveMemory(memory)
    if (n !== length) throw new NBDError('transport', 'the image has become shorter while it was read')
    return bytes
  }

  #break(error: unknown): void {
    if (this.#broken) return
    this.#broken = true
    this.#drop()
    this.#onError(error)
  }

  #drop(): void {
    this.#sealArena()
    for (const segment of this.#queue) this.#release(segment)
    this.#queue = []
    this.queuedBytes = 0
  }
}
