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
import { Memory } from '../../shared/syscall/memory.ts'
import { MAX_GATHER, MSG_MORE, setGather } from '../../shared/syscall/socket.ts'

/** Replies that are gathered before they are sent anyway. */
const ARENA_SIZE = 256 * 1024
/** What one reply may take of it. */
export const MAX_RESERVE = 128 * 1024
/** What is handed to node:net to wait with. */
const WAIT_PIECE = 64 * 1024

/** Memory that replies are built in, given back when all of them are sent. */
interface Arena {
  memory: Memory
  /** Behind the last reply. */
  used: number
  /** Segments in the queue. */
  segments: number
}

/** Bytes of memory: of an arena, of a piece of the pool that goes back there, or of neither. */
interface MemorySegment {
  memory: Memory
  start: number
  end: number
  owner: Arena | 'pool' | undefined
}

/** A part of a file. */
interface FileSegment {
  file: number
  start: number
  end: number
  onShort: OnShort | undefined
}

type Segment = MemorySegment | FileSegment

/** What takes the place of the reply's end when its file turns out to be too short. */
export interface OnShort {
  /** Bytes that stand behind the file's in the queue, and would have told success. */
  instead: number
  /** Memory of the pool, and how much of it is the error. */
  error: () => { memory: Memory; length: number }
}

let zeroes: Memory | undefined

export class ReplyWriter {
  readonly #channel: QIOChannelSocket
  readonly #onError: (error: unknown) => void
  #queue: Segment[] = []
  #arena: Arena | undefined
  /** The queue's last segment, when replies can be added to it. */
  #open: MemorySegment | undefined
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

  /** Where a reply can be built: `memory`, from `used`; `size` (up to MAX_RESERVE) bytes are free there. */
  reserve(size: number): Readonly<Pick<Arena, 'memory' | 'used'>> {
    if (this.#arena && this.#arena.used + size > ARENA_SIZE) {
      this.#open = undefined
      const full = this.#arena
      this.#arena = undefined
      // With segments in the queue, whoever sends the last of them gives it back.
      if (full.segments === 0) giveMemory(full.memory)
      this.#send()
    }
    return (this.#arena ??= { memory: takeMemory(ARENA_SIZE), used: 0, segments: 0 })
  }

  /** Adds the `size` bytes that were built where `reserve` said. */
  commit(size: number): void {
    const arena = this.#arena
    if (!arena) return
    if (!this.#open) {
      this.#open = { memory: arena.memory, start: arena.used, end: arena.used, owner: arena }
      this.#queue.push(this.#open)
      arena.segments++
    }
    arena.used += size
    this.#open.end = arena.used
    this.queuedBytes += size
  }

  /** Adds bytes of `memory`, which came from the pool and goes back there when they are sent. */
  pushMemory(memory: Memory, start: number, end: number): void {
    this.#push({ memory, start, end, owner: 'pool' })
  }

  /**
   * Adds a part of a file.
   *
   * @param onShort absent: when the file ends early, so does the connection
   */
  pushFile({ fd, offset }: BlockMap, length: number, onShort?: OnShort): void {
    this.#open = undefined
    this.#queue.push({ file: fd, start: offset, end: offset + length, onShort })
  }

  /** Sends what is there, as far as the socket takes it. */
  flush(): void {
    if (this.#queue.length > 0) this.#send()
    if (this.#queue.length === 0) this.#giveArenaBack()
  }

  /** Resolves when all is sent, or the connection is broken. */
  async drain(): Promise<void> {
    this.flush()
    while (this.#waiting) await this.#waiting
  }

  #push(segment: MemorySegment): void {
    this.#open = undefined
    this.#queue.push(segment)
    this.queuedBytes += segment.end - segment.start
  }

  /** An idle connection owns no memory. */
  #giveArenaBack(): void {
    if (this.#arena) giveMemory(this.#arena.memory)
    this.#arena = undefined
    this.#open = undefined
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
    if (sent === 0) this.#replaceShort(head)
    return sent
  }

  #sendMemory(head: MemorySegment): number {
    const queue = this.#queue
    if (queue.length === 1) {
      return this.#channel.send(head.memory.address + head.start, head.end - head.start)
    }
    let count = 0
    let next: Segment | undefined = head
    while (next && !('file' in next) && count < MAX_GATHER) {
      setGather(count++, next.memory.address + next.start, next.end - next.start)
      next = queue[count]
    }
    return this.#channel.sendGather(count, next ? MSG_MORE : 0)
  }

  /** The file ends within the queue's first segment: zeroes complete what was promised, and an error follows them. */
  #replaceShort(head: FileSegment): void {
    const { onShort } = head
    if (!onShort) throw new NBDError('transport', 'the image has become shorter while it was read')
    if (!zeroes) {
      zeroes = Memory.allocate(WAIT_PIECE)
      zeroes.buffer.fill(0)
    }
    const rest: Segment[] = []
    for (let left = head.end - head.start; left > 0; left -= WAIT_PIECE) {
      rest.push({ memory: zeroes, start: 0, end: Math.min(left, WAIT_PIECE), owner: undefined })
      this.queuedBytes += Math.min(left, WAIT_PIECE)
    }
    const { memory, length } = onShort.error()
    rest.push({ memory, start: 0, end: length, owner: 'pool' })
    this.queuedBytes += length
    this.#queue.splice(0, 1, ...rest)
    // Only what is behind the file is skipped; it was added together with it.
    const success = this.#queue[rest.length] as MemorySegment
    success.start += onShort.instead
    this.queuedBytes -= onShort.instead
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
    if ('file' in segment || segment.owner === undefined) return
    if (segment === this.#open) this.#open = undefined
    if (segment.owner === 'pool') {
      giveMemory(segment.memory)
    } else if (--segment.owner.segments === 0) {
      // All that was built is sent: the arena in use begins anew, a full one is done with.
      if (segment.owner === this.#arena) this.#arena.used = 0
      else giveMemory(segment.memory)
    }
  }

  async #sendLater(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        // What is being sent must not grow.
        this.#open = undefined
        const head = this.#queue[0]!
        const length = Math.min(WAIT_PIECE, head.end - head.start)
        const piece = this.#piece(head, length)
        if (!piece) continue
        await this.#channel.writeAll(piece)
        this.#consume(length)
        this.#sendNow()
      }
      this.#giveArenaBack()
    } catch (error) {
      this.#break(error)
    }
  }

  /** The first `length` bytes of the queue; undefined when they are no longer what they were. */
  #piece(head: Segment, length: number): Buffer | undefined {
    if (!('file' in head)) return head.memory.buffer.subarray(head.start, head.start + length)
    const piece = Buffer.allocUnsafeSlow(length)
    const memory = takeMemory(length)
    const n = preadSync(head.file, memory.address, length, head.start)
    memory.buffer.copy(piece, 0, 0, length)
    giveMemory(memory)
    if (n === length) return piece
    this.#replaceShort(head)
    return undefined
  }

  #break(error: unknown): void {
    if (this.#broken) return
    this.#broken = true
    this.#drop()
    this.#onError(error)
  }

  #drop(): void {
    for (const segment of this.#queue) this.#release(segment)
    this.#queue = []
    this.queuedBytes = 0
    this.#giveArenaBack()
  }
}
