/**
 * What goes to the server, in order, in as few system calls as may be.
 *
 * Requests that are issued in one turn of the loop are built one behind the other and leave together; small payloads
 * are copied in between, large ones go along without being copied. Where the channel is full, what follows queues up.
 *
 * @context the connection's thread
 */
import { CoQueue } from '../../shared/coroutine/co-queue.ts'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type IOVec, type QIOChannel } from '../../shared/io/channel.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import { encodeRequest, NBD_REQUEST_SIZE, type NBDRequest } from '../../shared/protocol/messages/request.ts'
import { Memory } from '../../shared/syscall/memory.ts'

const ARENA_SIZE = 64 * 1024
/** Payloads up to this size are copied: that costs less than a system call of their own. */
const MAX_INLINE = 16 * 1024

/** A piece of what is to be sent: requests that are built one behind the other, or somebody's payload. */
interface Piece extends IOVec {
  /** From the pool, and with room for more. */
  arena: boolean
}

export class RequestWriter {
  readonly #channel: QIOChannel
  readonly #onError: (error: unknown) => void
  readonly #queue: Piece[] = []
  readonly #sent = new CoQueue()
  /** A coroutine waits for room. */
  #busy = false
  #scheduled = false
  #broken = false

  /** @param onError told once, when the connection can take no more requests */
  constructor(channel: QIOChannel, onError: (error: unknown) => void) {
    this.#channel = channel
    this.#onError = onError
  }

  /**
   * Queues a request; it is sent at the end of this turn of the loop.
   *
   * @param data payload; the writer's until the request has been answered
   */
  add(request: NBDRequest, data?: Buffer): void {
    if (this.#broken) return
    const inline = data && data.length <= MAX_INLINE ? data : undefined
    const arena = this.#reserve(NBD_REQUEST_SIZE + (inline?.length ?? 0))
    const { buffer } = arena.memory
    encodeRequest(buffer, arena.end, request)
    arena.end += NBD_REQUEST_SIZE
    if (inline) arena.end += inline.copy(buffer, arena.end)
    else if (data) this.#queue.push({ memory: Memory.of(data), start: 0, end: data.length, arena: false })
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => this.#flush())
  }

  /** Returns when all is sent, or the connection is broken. */
  *drain(): CoroutineFn {
    this.#flush()
    while (this.#busy) yield* this.#sent.wait()
  }

  #reserve(size: number): Piece {
    const last = this.#queue.at(-1)
    if (last?.arena && last.end + size <= ARENA_SIZE) return last
    const piece: Piece = { memory: takeMemory(ARENA_SIZE), start: 0, end: 0, arena: true }
    this.#queue.push(piece)
    return piece
  }

  #flush(): void {
    this.#scheduled = false
    if (this.#busy) return
    try {
      if (this.#sendNow()) return
    } catch (error) {
      this.#break(error)
      return
    }
    this.#busy = true
    Coroutine.create(() => this.#sendLater()).enter()
  }

  *#sendLater(): CoroutineFn {
    try {
      do yield* this.#channel.yield('out')
      while (!this.#sendNow())
    } catch (error) {
      this.#break(error)
    }
    this.#busy = false
    this.#sent.restartAll()
  }

  /** @returns false when the channel is full */
  #sendNow(): boolean {
    const queue = this.#queue
    while (queue.length > 0) {
      let sent = this.#channel.writev(queue)
      if (sent === QIO_CHANNEL_ERR_BLOCK) return false
      for (let head = queue[0]; head; head = queue[0]) {
        const taken = Math.min(sent, head.end - head.start)
        head.start += taken
        sent -= taken
        if (head.start < head.end) break
        queue.shift()
        if (head.arena) giveMemory(head.memory)
      }
    }
    return true
  }

  #break(error: unknown): void {
    this.#broken = true
    this.#queue.length = 0
    this.#onError(error)
  }
}
