/**
 * What goes to the server, in order, in as few system calls as may be.
 *
 * Requests that are issued in one turn of the loop are built one behind the other and leave together; small payloads
 * are copied in between, large ones go along without being copied. Where the socket is full, what follows queues up.
 *
 * @context the connection's thread
 */
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import { encodeRequest, NBD_REQUEST_SIZE, type NBDRequest } from '../../shared/protocol/messages/request.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { MSG_MORE } from '../../shared/syscall/socket.ts'

const ARENA_SIZE = 64 * 1024
/** Payloads up to this size are copied: that costs less than a system call of their own. */
const MAX_INLINE = 16 * 1024

/** Requests that are built one behind the other. */
interface Arena {
  memory: Memory
  start: number
  end: number
  /** Being sent by node:net: nothing may be added. */
  sealed: boolean
}

export class RequestWriter {
  readonly #channel: QIOChannelSocket
  readonly #onError: (error: unknown) => void
  readonly #queue: (Arena | Buffer)[] = []
  #sent: Promise<void> = Promise.resolve()
  #busy = false
  #scheduled = false
  #broken = false

  /** @param onError told once, when the connection can take no more requests */
  constructor(channel: QIOChannelSocket, onError: (error: unknown) => void) {
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
    else if (data) this.#queue.push(data)
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => this.#flush())
  }

  /** Resolves when all is sent, or the connection is broken. */
  async drain(): Promise<void> {
    this.#flush()
    while (this.#busy) await this.#sent
  }

  #reserve(size: number): Arena {
    const last = this.#queue.at(-1)
    if (last && 'memory' in last && !last.sealed && last.end + size <= ARENA_SIZE) return last
    const arena: Arena = { memory: takeMemory(ARENA_SIZE), start: 0, end: 0, sealed: false }
    this.#queue.push(arena)
    return arena
  }

  #flush(): void {
    this.#scheduled = false
    if (this.#busy || this.#queue.length === 0) return
    this.#busy = true
    this.#sent = this.#send()
  }

  async #send(): Promise<void> {
    const queue = this.#queue
    try {
      for (let head = queue[0]; head; head = queue[0]) {
        if (!('memory' in head)) {
          await this.#channel.writeAll(head)
        } else if (!this.#sendNow(head)) {
          head.sealed = true
          await this.#channel.writeAll(head.memory.buffer.subarray(head.start, head.end))
        }
        // In the same breath as the last look at it: nobody must build in what is sent.
        queue.shift()
        if ('memory' in head) giveMemory(head.memory)
      }
    } catch (error) {
      this.#broken = true
      queue.length = 0
      this.#onError(error)
    }
    this.#busy = false
  }

  /** @returns false when the socket is full */
  #sendNow(arena: Arena): boolean {
    while (arena.start < arena.end) {
      const flags = this.#queue.length > 1 ? MSG_MORE : 0
      const address = arena.memory.address + arena.start
      const sent = this.#channel.send(address, arena.end - arena.start, flags)
      if (sent === QIO_CHANNEL_ERR_BLOCK) return false
      arena.start += sent
    }
    return true
  }
}
