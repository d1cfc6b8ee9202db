/**
 * What goes back to the client from one thread, in order, in as few system calls as may be.
 *
 * Replies are built one behind the other in a piece of memory (the arena) and leave together at `flush`. Large data
 * goes along without being copied: from memory of its own, or straight from a file by sendfile. Where the channel is
 * full, a coroutine waits for room and sends what is queued; replies that are made meanwhile queue up behind. When other
 * threads send on the connection, too, that coroutine takes turns with theirs, by the send lock.
 *
 * @context the connection's IOThread
 */
import type { CoLockable } from '../../shared/coroutine/co-lock.ts'
import { CoQueue } from '../../shared/coroutine/co-queue.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from '../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import type { BlockMap } from '../../shared/block/block-node.ts'
import { StagingPipe } from '../../shared/io/staging-pipe.ts'
import { Memory } from '../../shared/syscall/memory.ts'

/** Replies that are gathered before they are sent anyway. */
const ARENA_SIZE = 256 * 1024
/** What one reply may take of it. */
export const MAX_RESERVE = 128 * 1024
/** What takes the place of a file that is too short, at a time. */
const ZEROES_SIZE = 64 * 1024

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

/** A part of what is in the pipe. */
interface PipeSegment {
  pipe: StagingPipe
  start: number
  end: number
}

type Segment = MemorySegment | FileSegment | PipeSegment

/** What takes the place of the reply's end when its file turns out to be too short. */
export interface OnShort {
  /** Bytes that stand behind the file's in the queue, and would have told success. */
  instead: number
  /** Memory of the pool, and how much of it is the error. */
  error: () => { memory: Memory; length: number }
}

let zeroes: Memory | undefined

export class ReplyWriter {
  readonly #channel: QIOChannel
  /** The same, if it can send files. */
  readonly #socket: QIOChannelSocket | undefined
  readonly #onError: (error: unknown) => void
  #queue: Segment[] = []
  #arena: Arena | undefined
  /** The queue's last segment, when replies can be added to it. */
  #open: MemorySegment | undefined
  /** What it holds is in the queue, in that order. */
  #pipe: StagingPipe | undefined
  /** Of several threads that send; absent while there is one. */
  #lock: CoLockable | undefined
  /** A coroutine is at it. */
  #sending = false
  readonly #sent = new CoQueue()
  #broken = false
  /** Bytes of memory that wait to be sent. */
  queuedBytes = 0

  /** @param onError told once, when the connection can take no more replies */
  constructor(channel: QIOChannel, onError: (error: unknown) => void) {
    this.#channel = channel
    this.#socket = channel instanceof QIOChannelSocket ? channel : undefined
    this.#onError = onError
  }

  /** The channel is full, or another thread sends; replies queue up. */
  get blocked(): boolean {
    return this.#sending
  }

  /** Whether `pushFile` may be called. */
  get takesFiles(): boolean {
    return this.#socket !== undefined
  }

  /** Others send on the connection, too; before anything is sent. */
  share(lock: CoLockable): void {
    this.#lock = lock
  }

  /** Returns when others may send on the connection, too: what was on its way then is sent. */
  *beginSharing(lock: CoLockable): CoroutineFn {
    yield* this.drain()
    // First this: what gets ready from now on waits for the lock.
    this.#lock = lock
    yield* lock.lock()
    try {
      yield* this.#channel.yield('out')
    } finally {
      lock.unlock()
    }
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
    // While it is in the processor's cache.
    if (this.queuedBytes >= ARENA_SIZE) this.#send()
  }

  /**
   * Takes a part of a file, so that it comes whatever becomes of the file; `pushFile` of the same is to follow.
   *
   * @returns bytes, fewer when there is no room for all of them; or UNREADABLE
   */
  stage({ fd, offset }: BlockMap, length: number): number {
    if (this.#pipe && !this.#pipe.hasRoom(offset, length)) this.flush()
    const pipe = (this.#pipe ??= StagingPipe.take())
    return pipe?.hasRoom(offset, length) ? pipe.stage(fd, offset, length) : 0
  }

  /**
   * Adds a part of a file.
   *
   * @param onShort absent: when the file ends early, so does the connection
   */
  pushFile({ fd, offset }: BlockMap, length: number, staged: number, onShort?: OnShort): void {
    this.#open = undefined
    if (staged > 0) this.#queue.push({ pipe: this.#pipe!, start: 0, end: staged })
    if (staged < length) this.#queue.push({ file: fd, start: offset + staged, end: offset + length, onShort })
  }

  /** Sends what is there, as far as the socket takes it. */
  flush(): void {
    if (this.#queue.length > 0) this.#send()
    if (this.#queue.length === 0) this.#giveArenaBack()
  }

  /** Returns when all is sent, or the connection is broken. */
  *drain(): CoroutineFn {
    this.flush()
    while (this.#sending && !this.#broken) yield* this.#sent.wait()
  }

  /** Nothing more is sent; whoever waits for that goes on. The lock that a coroutine waits for may be nobody's. */
  abort(): void {
    this.#broken = true
    this.#drop()
    this.#sent.restartAll()
  }

  #push(segment: MemorySegment): void {
    this.#open = undefined
    this.#queue.push(segment)
    this.queuedBytes += segment.end - segment.start
  }

  /** An idle connection owns no memory. */
  #giveArenaBack(): void {
    if (this.#pipe?.isEmpty) {
      this.#pipe.give()
      this.#pipe = undefined
    }
    if (this.#arena) giveMemory(this.#arena.memory)
    this.#arena = undefined
    this.#open = undefined
  }

  #send(): void {
    if (this.#broken) {
      this.#drop()
      return
    }
    if (this.#sending) return
    try {
      if (!this.#lock && this.#sendNow()) return
      this.#sending = true
      Coroutine.create(() => this.#sendAll()).enter()
    } catch (error) {
      this.#break(error)
    }
  }

  *#sendAll(): CoroutineFn {
    const lock = this.#lock
    try {
      if (lock) yield* lock.lock()
      try {
        do {
          while (!this.#sendNow()) yield* this.#channel.yield('out')
          // The last piece may still be on its way, and nobody else's must get in between.
          if (lock) yield* this.#channel.yield('out')
        } while (this.#queue.length > 0)
      } finally {
        lock?.unlock()
      }
      this.#giveArenaBack()
    } catch (error) {
      this.#break(error)
    }
    this.#sending = false
    this.#sent.restartAll()
  }

  /** @returns false when the channel is full */
  #sendNow(): boolean {
    const queue = this.#queue
    while (queue.length > 0) {
      const head = queue[0]!
      const sent =
        'memory' in head
          ? this.#sendMemory(head)
          : 'pipe' in head
            ? this.#sendPipe(head)
            : this.#sendFile(head)
      if (sent === QIO_CHANNEL_ERR_BLOCK) return false
      this.#consume(sent)
    }
    return true
  }

  /** @returns 0 also when the file was too short, and the queue has changed */
  #sendFile(head: FileSegment): number {
    const sent = this.#socket!.sendfile(head.file, head.start, head.end - head.start)
    if (sent === 0) this.#replaceShort(head)
    return sent
  }

  #sendPipe({ pipe, start, end }: PipeSegment): number {
    const sent = this.#socket!.splice(pipe.readFd, end - start)
    if (sent > 0) pipe.taken(sent)
    return sent
  }

  #sendMemory(head: MemorySegment): number {
    // A new one each time: emptying an array costs more than making one.
    const gathered: IOVec[] = [head]
    let next = this.#queue[1]
    while (next && 'memory' in next) {
      gathered.push(next)
      next = this.#queue[gathered.length]
    }
    return this.#channel.writev(gathered, next !== undefined)
  }

  /** The file ends within the queue's first segment: zeroes complete what was promised, and an error follows them. */
  #replaceShort(head: FileSegment): void {
    const { onShort } = head
    if (!onShort) throw new NBDError('transport', 'the image has become shorter while it was read')
    if (!zeroes) {
      zeroes = Memory.allocate(ZEROES_SIZE)
      zeroes.buffer.fill(0)
    }
    const rest: Segment[] = []
    for (let left = head.end - head.start; left > 0; left -= ZEROES_SIZE) {
      rest.push({ memory: zeroes, start: 0, end: Math.min(left, ZEROES_SIZE), owner: undefined })
      this.queuedBytes += Math.min(left, ZEROES_SIZE)
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
      if ('memory' in head) this.queuedBytes -= taken
      if (head.start < head.end) return
      queue.shift()
      this.#release(head)
    }
  }

  #release(segment: Segment): void {
    if (!('memory' in segment) || segment.owner === undefined) return
    if (segment === this.#open) this.#open = undefined
    if (segment.owner === 'pool') {
      giveMemory(segment.memory)
    } else if (--segment.owner.segments === 0) {
      // All that was built is sent: the arena in use begins anew, a full one is done with.
      if (segment.owner === this.#arena) this.#arena.used = 0
      else giveMemory(segment.memory)
    }
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
    if (this.#pipe && !this.#pipe.isEmpty) {
      this.#pipe.close()
      this.#pipe = undefined
    }
    this.queuedBytes = 0
    this.#giveArenaBack()
  }
}
