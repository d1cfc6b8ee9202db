/**
 * Notices that a shared connection has ended while nothing is in flight, and so nobody receives.
 *
 * It waits until there is something to read, and leaves it there: bytes are another part's, who has just asked for them.
 * Each part watches for itself, so it does not matter who leaves, or whose thread is ended by force.
 *
 * @context the thread of the part
 */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { probeReadable } from '../../shared/io/readable-probe.ts'
import { transportError } from '../../shared/io/transport-errors.ts'
import { EAGAIN } from '../../shared/syscall/libc.ts'
import { peek } from '../../shared/syscall/socket.ts'

/** How often it looks whether the connection is idle while it is not, in ms. A request costs nothing more by this. */
const LOOK_MS = 100

/** What it needs of a SharedConnection. */
export interface Watched {
  /** A descriptor that is open while somebody takes part. */
  readonly socket: number
  /** Requests in flight, of all parts. */
  readonly requests: number
}

export class IdleWatch {
  readonly #connection: Watched
  readonly #onEnd: (error: NBDError) => void
  #timer: NodeJS.Timeout | undefined
  #endProbe: (() => void) | undefined

  /** @param onEnd called once when the server has gone: with an error of kind `transport` */
  constructor(connection: Watched, onEnd: (error: NBDError) => void) {
    this.#connection = connection
    this.#onEnd = onEnd
    this.#later()
  }

  /** Must be called before the part leaves. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#endProbe?.()
  }

  #later(): void {
    this.#timer = setTimeout(() => this.#look(), LOOK_MS)
  }

  #look(): void {
    if (this.#connection.requests > 0) {
      this.#later()
      return
    }
    try {
      this.#endProbe = probeReadable(this.#connection.socket, () => this.#readable())
    } catch {
      // No descriptor for it just now.
      this.#later()
    }
  }

  #readable(): void {
    if (!this.#endProbe) return
    this.#endProbe()
    this.#endProbe = undefined
    const n = peek(this.#connection.socket)
    // Behind an end nothing comes: if nothing is in flight afterwards, all replies were taken before it.
    if (n > 0 || n === -EAGAIN || this.#connection.requests > 0) this.#later()
    else this.#onEnd(n === 0 ? closedByServer() : transportError('receiving', -n))
  }
}

const closedByServer = (): NBDError => new NBDError('transport', 'the server closed the connection')
