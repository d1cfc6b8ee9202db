/** A request that was sent, from then until its reply is complete. */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_FLUSH, NBD_CMD_READ } from '../../shared/protocol/constants.ts'
import { nbdCmdLookup } from '../../shared/protocol/lookup.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { Coverage } from './coverage.ts'

/** Where the data of a READ go. */
export interface ReadTarget {
  /** Written to by the connection until the request has been answered, or the connection is dead. */
  readonly buffer: Buffer
  /** The same bytes with their address, when they have one that holds: data are then received in place. */
  readonly memory: Memory | undefined
  /** Of the first byte. */
  readonly at: number
}

/** What is sent. */
export interface Command {
  /** NBD_CMD_... */
  type: number
  /** NBD_CMD_FLAG_... */
  flags: number
  offset: number
  length: number
  /** For READ, with room for `length` bytes. */
  target?: ReadTarget
  /** For WRITE, `length` bytes: the connection's until the request has been answered. */
  data?: Buffer
}

export class PendingRequest {
  readonly command: Command
  /** For READ. */
  readonly coverage: Coverage | undefined
  /** For BLOCK_STATUS, when the chunk is there: length and flags of one extent after the other. */
  extents: number[] | undefined
  /** From the first error chunk; the reply goes on to its last chunk. */
  error: NBDError | undefined
  readonly #resolve: (extents: number[]) => void
  readonly #reject: (error: NBDError) => void

  constructor(command: Command, resolve: (extents: number[]) => void, reject: (error: NBDError) => void) {
    this.command = command
    this.coverage = command.type === NBD_CMD_READ ? new Coverage(command.length) : undefined
    this.#resolve = resolve
    this.#reject = reject
  }

  /** The reply is complete. @returns what is missing in it, in words: then it is not settled */
  settle(): string | undefined {
    if (this.error) this.#reject(this.error)
    else if (this.coverage && !this.coverage.complete) return 'not all data came'
    else if (this.command.type === NBD_CMD_BLOCK_STATUS && !this.extents) return 'no status came'
    else this.#resolve(this.extents ?? [])
    return undefined
  }

  /** There will be no reply. */
  abandon(cause: NBDError): void {
    const { errno } = cause
    const text = `${describe(this.command)}: ${cause.message}`
    this.#reject(new NBDError(cause.kind, text, { ...(errno === undefined ? {} : { errno }), cause }))
  }
}

/** `NBD_CMD_READ of 512 bytes at 4096`: for messages. */
export function describe({ type, offset, length }: Command): string {
  const name = nbdCmdLookup(type)
  return type === NBD_CMD_FLUSH ? name : `${name} of ${length} bytes at ${offset}`
}
