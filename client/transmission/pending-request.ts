/** A request from when it is issued until its reply is complete. */
import { printable } from '../../shared/config/printable.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_FLUSH, NBD_CMD_READ } from '../../shared/protocol/constants.ts'
import { nbdCmdLookup } from '../../shared/protocol/lookup.ts'
import { withContext } from '../with-context.ts'
import type { Cancellation } from './cancellation.ts'
import type { MetaContexts } from '../negotiation/negotiated.ts'
import { Coverage } from './coverage.ts'
import type { FilePart } from './file-payload.ts'
import type { ReadTarget } from './read-target.ts'

/** For each context, by its name: length and flags of one extent after the other. */
export type Status = ReadonlyMap<string, readonly number[]>

/** What is sent. */
export interface Command {
  /** NBD_CMD_... */
  type: number
  /** NBD_CMD_FLAG_... */
  flags: number
  offset: number
  length: number
  /** For READ: written to until the request has been answered or given up, or the connection is dead. */
  target?: ReadTarget | undefined
  /** For WRITE, `length` bytes: the connection's until the request has been answered or given up. */
  data?: Buffer | undefined
  /** For WRITE, instead of `data`: stays open until the request has been answered or given up. */
  file?: FilePart | undefined
  /** Given up when it is on its way already, it goes on until its reply comes. */
  untilDone?: boolean
}

export class PendingRequest {
  /** Given by the CookieTable. */
  cookie = 0
  /** For READ. */
  readonly coverage: Coverage | undefined
  /** For BLOCK_STATUS: what has come. */
  readonly status = new Map<string, number[]>()
  /** From the first error chunk; the reply goes on to its last chunk. */
  error: NBDError | undefined
  /** Nobody waits for the reply, which is read and dropped. */
  givenUp = false
  #command: Command
  readonly #resolve: (status: Status) => void
  readonly #reject: (error: unknown) => void
  #cancellation: Cancellation | undefined
  #onCancel: ((reason: unknown) => void) | undefined

  constructor(command: Command, resolve: (status: Status) => void, reject: (error: unknown) => void) {
    this.#command = command
    this.coverage = command.type === NBD_CMD_READ ? new Coverage(command.length) : undefined
    this.#resolve = resolve
    this.#reject = reject
  }

  /** Without `target`, `data` and `file` when it was given up: they are their owner's again. */
  get command(): Command {
    return this.#command
  }

  /** @param giveUp called when the call is given up before the request is settled */
  watch(cancellation: Cancellation, giveUp: (reason: unknown) => void): void {
    this.#cancellation = cancellation
    this.#onCancel = giveUp
    cancellation.add(giveUp)
  }

  /**
   * The reply is complete.
   *
   * @param contexts of each of which a status must have come
   * @returns what is missing, in words: then it is not settled
   */
  settle(contexts: MetaContexts): string | undefined {
    if (!this.error) {
      if (this.coverage && !this.coverage.complete) return 'not all data came'
      if (this.#command.type === NBD_CMD_BLOCK_STATUS && this.status.size < contexts.size) {
        const missing = [...contexts.values()].filter((context) => !this.status.has(context))
        return `no status came of ${printable(missing.join(', '))}`
      }
    }
    this.#unwatch()
    if (this.error) this.#reject(this.error)
    else this.#resolve(this.status)
    return undefined
  }

  /** There will be no reply. */
  abandon(cause: NBDError): void {
    this.#unwatch()
    this.#reject(withContext(describe(this.#command), cause))
  }

  /** Fails at once; its buffers are not touched any more. */
  giveUp(reason: unknown): void {
    this.givenUp = true
    if (NBDError.is(reason)) this.abandon(reason)
    else this.#reject(reason)
    const { type, flags, offset, length } = this.#command
    this.#command = { type, flags, offset, length }
  }

  #unwatch(): void {
    if (this.#onCancel) this.#cancellation!.delete(this.#onCancel)
    this.#onCancel = undefined
  }
}

/** `NBD_CMD_READ of 512 bytes at 4096`: for messages. */
export function describe({ type, offset, length }: Command): string {
  const name = nbdCmdLookup(type)
  // Programs in JavaScript may pass anything, such as a buffer in the place of the offset.
  const isTold = type !== NBD_CMD_FLUSH && typeof offset === 'number' && typeof length === 'number'
  return isTold ? `${name} of ${length} bytes at ${offset}` : name
}
