/**
 * What a disk's calls do below their options: over any range, in as many requests as it takes.
 *
 * @context the thread that connected
 */
import {
  NBD_CMD_CACHE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import { NBD_MODE_EXTENDED } from '../../shared/protocol/nbd-mode.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import type { Cancellation } from '../transmission/cancellation.ts'
import { checkCommand } from '../transmission/check-command.ts'
import type { FilePart } from '../transmission/file-payload.ts'
import { NBD_MAX_EFFECT_LENGTH } from '../transmission/limits.ts'
import { inParts, isTooLong, maxPayload } from '../transmission/parts.ts'
import type { Command, Status } from '../transmission/pending-request.ts'
import { DROPPED, lateTargets, readTargets, type TargetOf } from '../transmission/read-target.ts'

/** Who sends requests. */
export interface Requester {
  readonly negotiated: Negotiated
  /** @see Transmission.request */
  request(command: Command, cancellation?: Cancellation): Promise<Status>
}

/** Where a read puts what it reads: buffers, or one that is asked for when there are data for it. */
export type ReadBuffers = readonly Buffer[] | (() => Buffer)

/** All fail with an NBDError, or the reason why the call was given up. */
export interface DiskIO {
  /** Fills the buffers, which are `length` bytes long together. */
  read(offset: number, length: number, buffers: ReadBuffers, cancellation?: Cancellation): Promise<void>
  /** As `read`, and drops what comes. */
  readAndDrop(offset: number, length: number, cancellation?: Cancellation): Promise<void>
  /** @param flags NBD_CMD_FLAG_... */
  write(offset: number, data: Buffer, flags: number, cancellation?: Cancellation): Promise<void>
  /** As `write`, of `length` bytes of a file. */
  writeFile(
    offset: number,
    length: number,
    file: FilePart,
    flags: number,
    cancellation?: Cancellation
  ): Promise<void>
  zero(offset: number, length: number, flags: number, cancellation?: Cancellation): Promise<void>
  trim(offset: number, length: number, flags: number, cancellation?: Cancellation): Promise<void>
  cache(offset: number, length: number, cancellation?: Cancellation): Promise<void>
}

/** Of whole blocks; what is not is refused. */
export class AlignedIO implements DiskIO {
  readonly #requester: Requester
  readonly #maxPayload: number

  constructor(requester: Requester) {
    this.#requester = requester
    this.#maxPayload = maxPayload(requester.negotiated.blockSizes)
  }

  async read(
    offset: number,
    length: number,
    buffers: ReadBuffers,
    cancellation?: Cancellation
  ): Promise<void> {
    const targetOf = typeof buffers === 'function' ? lateTargets(buffers) : readTargets(buffers)
    await this.#read(offset, length, targetOf, cancellation)
  }

  async #read(
    offset: number,
    length: number,
    targetOf: TargetOf,
    cancellation: Cancellation | undefined
  ): Promise<void> {
    checkCommand({ type: NBD_CMD_READ, flags: 0, offset, length }, this.#requester.negotiated)
    await inParts(length, this.#maxPayload, (at, size) =>
      this.#requester.request(
        { type: NBD_CMD_READ, flags: 0, offset: offset + at, length: size, target: targetOf(at) },
        cancellation
      )
    )
  }

  async readAndDrop(offset: number, length: number, cancellation?: Cancellation): Promise<void> {
    await this.#read(offset, length, () => DROPPED, cancellation)
  }

  write(offset: number, data: Buffer, flags: number, cancellation?: Cancellation): Promise<void> {
    return this.#write(offset, data, flags, false, cancellation)
  }

  /** As `write`; given up when it is on its way already, it goes on until the replies come. */
  writeUntilDone(offset: number, data: Buffer, flags: number, cancellation?: Cancellation): Promise<void> {
    return this.#write(offset, data, flags, true, cancellation)
  }

  zero(offset: number, length: number, flags: number, cancellation?: Cancellation): Promise<void> {
    const command = { type: NBD_CMD_WRITE_ZEROES, flags, offset, length }
    return this.#effect(command, NBD_MAX_EFFECT_LENGTH, cancellation)
  }

  trim(offset: number, length: number, flags: number, cancellation?: Cancellation): Promise<void> {
    const command = { type: NBD_CMD_TRIM, flags, offset, length }
    return this.#effect(command, NBD_MAX_EFFECT_LENGTH, cancellation)
  }

  cache(offset: number, length: number, cancellation?: Cancellation): Promise<void> {
    const command = { type: NBD_CMD_CACHE, flags: 0, offset, length }
    // Without payload; but QEMU allows no more than it would for a read.
    return this.#effect(command, this.#maxPayload, cancellation)
  }

  async writeFile(
    offset: number,
    length: number,
    { fd, position }: FilePart,
    flags: number,
    cancellation?: Cancellation
  ): Promise<void> {
    const command = { type: NBD_CMD_WRITE, flags, offset, length }
    checkCommand(command, this.#requester.negotiated)
    await inParts(length, this.#maxPayload, (at, size) =>
      this.#requester.request(
        { ...command, offset: offset + at, length: size, file: { fd, position: position + at } },
        cancellation
      )
    )
  }

  async #write(
    offset: number,
    data: Buffer,
    flags: number,
    untilDone: boolean,
    cancellation: Cancellation | undefined
  ): Promise<void> {
    const command = { type: NBD_CMD_WRITE, flags, offset, length: data.length }
    checkCommand(command, this.#requester.negotiated)
    await inParts(data.length, this.#maxPayload, (at, size) =>
      this.#requester.request(
        { ...command, offset: offset + at, length: size, data: data.subarray(at, at + size), untilDone },
        cancellation
      )
    )
  }

  /**
   * A command without payload; with extended headers, in one request.
   *
   * @param max length of those that every server takes
   */
  async #effect(command: Command, max: number, cancellation: Cancellation | undefined): Promise<void> {
    const { negotiated } = this.#requester
    checkCommand(command, negotiated)
    const { offset, length } = command
    if (length > max && negotiated.mode === NBD_MODE_EXTENDED) {
      try {
        await this.#requester.request(command, cancellation)
        return
      } catch (error) {
        if (!isTooLong(error)) throw error
      }
    }
    await inParts(length, max, (at, size) =>
      this.#requester.request({ ...command, offset: offset + at, length: size }, cancellation)
    )
  }
}
