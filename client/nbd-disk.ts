/**
 * An export of a server, as a program uses it.
 *
 * Any number of calls may be in flight at once; the server may carry them out in any order, so a read that is to see a
 * write must be called when the write has resolved. A call that fails, fails alone: its error is of kind `request` and
 * has an errno. When the connection is lost, all calls fail with an error of kind `transport` or `protocol`.
 *
 * @context the thread that connected
 */
import { constants } from 'node:os'
import { isUint8Array } from 'node:util/types'
import { NBDError } from '../shared/errors/nbd-error.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../shared/protocol/constants.ts'
import type { BlockSizes } from '../shared/protocol/messages/export-info.ts'
import { hasAddress, Memory } from '../shared/syscall/memory.ts'
import type { Connection, ConnectionState } from './connection/connection.ts'
import type { Target } from './connection/target.ts'
import { flagsOf, type NBDFlags } from './flags.ts'
import type { Handshake } from './negotiation/negotiated.ts'
import { blockStatus, type NBDExtent } from './transmission/block-status.ts'
import { checkCommand } from './transmission/check-command.ts'
import { NBD_MAX_EFFECT_LENGTH } from './transmission/limits.ts'
import { inParts, maxPayload } from './transmission/parts.ts'
import type { ReadTarget } from './transmission/pending-request.ts'

export interface WriteOptions {
  /** Resolve only when it is on stable storage. Needs `flags.canFua`. */
  fua?: boolean
}

export interface ZeroOptions extends WriteOptions {
  /** Keep the space allocated. */
  noHole?: boolean
  /** Fail with ENOTSUP rather than be as slow as a write. Needs `flags.canFastZero`. */
  fast?: boolean
}

export class NBDDisk {
  /** Bytes. */
  readonly size: number
  readonly flags: NBDFlags
  /** What reads and writes must be multiples of, what serves the server best, and the longest that it takes at once. */
  readonly blockSizes: Readonly<BlockSizes>
  /** Whether the server told them, or they are the protocol's defaults. */
  readonly blockSizesAdvertised: boolean
  /** The server's own name of it, if it told one; else the one that was asked for. */
  readonly exportName: string
  /** For people; empty when there is none. */
  readonly description: string
  readonly handshake: Handshake
  /** Replies may be structured. */
  readonly structured: boolean
  /** All data goes by TLS. */
  readonly tls: boolean
  readonly #connection: Connection
  readonly #target: Target

  /** @param target what was connected to: the disk's, to close */
  constructor(connection: Connection, target: Target) {
    const { negotiated } = connection
    this.size = negotiated.size
    this.flags = flagsOf(negotiated)
    this.blockSizes = negotiated.blockSizes
    this.blockSizesAdvertised = negotiated.blockSizesAdvertised
    this.exportName = negotiated.exportName
    this.description = negotiated.description
    this.handshake = negotiated.handshake
    this.structured = negotiated.structured
    this.tls = connection.tls
    this.#connection = connection
    this.#target = target
  }

  get readOnly(): boolean {
    return this.flags.readOnly
  }

  get state(): ConnectionState {
    return this.#connection.state
  }

  /**
   * Reads.
   *
   * @param into length in bytes, or a buffer that is to be filled; that is the disk's until the promise settles
   * @returns a new buffer, the caller's; or the one that was given
   * @throws NBDError
   */
  read(offset: number, into: number): Promise<Buffer>
  read<T extends Uint8Array>(offset: number, into: T): Promise<T>
  async read(offset: number, into: number | Uint8Array): Promise<Uint8Array> {
    const length = typeof into === 'number' ? into : bytesOf(into).length
    const command = { type: NBD_CMD_READ, flags: 0, offset, length }
    checkCommand(command, this.#connection.negotiated)
    const target = typeof into === 'number' ? newTarget(length) : givenTarget(into)
    await inParts(length, maxPayload(this.blockSizes), (at, size) =>
      this.#connection.request({
        ...command,
        offset: offset + at,
        length: size,
        target: { ...target, at }
      })
    )
    return typeof into === 'number' ? target.buffer.subarray(0, length) : into
  }

  /**
   * Writes. When it fails, some of it may have been written.
   *
   * @param data the disk's until the promise settles
   * @throws NBDError
   */
  async write(offset: number, data: Uint8Array, { fua = false }: WriteOptions = {}): Promise<void> {
    const bytes = bytesOf(data)
    const command = { type: NBD_CMD_WRITE, flags: fuaFlag(fua), offset, length: bytes.length }
    checkCommand(command, this.#connection.negotiated)
    await inParts(bytes.length, maxPayload(this.blockSizes), (at, size) =>
      this.#connection.request({
        ...command,
        offset: offset + at,
        length: size,
        data: bytes.subarray(at, at + size)
      })
    )
  }

  /** Makes a range read as zeroes. When it fails, some of it may. @throws NBDError */
  zero(
    offset: number,
    length: number,
    { fua = false, noHole = false, fast = false }: ZeroOptions = {}
  ): Promise<void> {
    const flags = fuaFlag(fua) | (noHole ? NBD_CMD_FLAG_NO_HOLE : 0) | (fast ? NBD_CMD_FLAG_FAST_ZERO : 0)
    return this.#effect(NBD_CMD_WRITE_ZEROES, flags, offset, length, NBD_MAX_EFFECT_LENGTH)
  }

  /** Tells the server that a range is no longer needed; what it reads as then is not defined. @throws NBDError */
  trim(offset: number, length: number, { fua = false }: WriteOptions = {}): Promise<void> {
    return this.#effect(NBD_CMD_TRIM, fuaFlag(fua), offset, length, NBD_MAX_EFFECT_LENGTH)
  }

  /** Tells the server that a range will be read soon. @throws NBDError */
  cache(offset: number, length: number): Promise<void> {
    // Without payload; but QEMU allows no more than it would for a read.
    return this.#effect(NBD_CMD_CACHE, 0, offset, length, maxPayload(this.blockSizes))
  }

  /** Brings all writes that have resolved to stable storage. @throws NBDError */
  async flush(): Promise<void> {
    const command = { type: NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 }
    checkCommand(command, this.#connection.negotiated)
    await this.#connection.request(command)
  }

  /**
   * What is data, hole, zeroes (`base:allocation`): extents in order that cover the range, neighbours with different
   * flags. Asks the server as it is iterated.
   *
   * @throws NBDError from the iteration
   */
  async *blockStatus(offset = 0, length = this.size - offset): AsyncGenerator<NBDExtent, void, undefined> {
    checkCommand({ type: NBD_CMD_BLOCK_STATUS, flags: 0, offset, length }, this.#connection.negotiated)
    yield* blockStatus(offset, length, (command) => this.#connection.request(command))
  }

  /** Waits for the replies to all calls in flight, and disconnects. Further calls fail. Never fails itself. */
  async close(): Promise<void> {
    await this.#connection.close()
    await this.#target.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** A command without payload. */
  async #effect(type: number, flags: number, offset: number, length: number, max: number): Promise<void> {
    checkCommand({ type, flags, offset, length }, this.#connection.negotiated)
    await inParts(length, max, (at, size) =>
      this.#connection.request({ type, flags, offset: offset + at, length: size })
    )
  }
}

const fuaFlag = (fua: boolean): number => (fua ? NBD_CMD_FLAG_FUA : 0)

/** The same bytes as a Buffer. @throws TypeError */
function bytesOf(data: Uint8Array): Buffer {
  if (!isUint8Array(data)) throw new TypeError('data must be a Buffer or Uint8Array')
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

function givenTarget(into: Uint8Array): Omit<ReadTarget, 'at'> {
  const buffer = bytesOf(into)
  return { buffer, memory: hasAddress(buffer) ? Memory.of(buffer) : undefined }
}

/** @throws NBDError of kind `request` when there is not that much memory */
function newTarget(length: number): Omit<ReadTarget, 'at'> {
  try {
    const memory = Memory.allocate(length)
    return { buffer: memory.buffer, memory }
  } catch (error) {
    const text = `NBD_CMD_READ of ${length} bytes: there is no memory for so much at once`
    throw new NBDError('request', text, { errno: constants.errno.ENOMEM, cause: error })
  }
}
