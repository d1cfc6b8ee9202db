/**
 * An export of a server, as a program uses it.
 *
 * Any number of calls may be in flight at once; the server may carry them out in any order, so a read that is to see a
 * write must be called when the write has resolved. A call that fails, fails alone: its error is of kind `request` and
 * has an errno. When the connection is lost for good, all calls fail with an error of kind `transport` or `protocol`.
 *
 * Every call can be given up, by a signal or a time limit. It then fails at once, and its buffers are its caller's again.
 * If it was not sent yet, it never is; otherwise the server goes on with it: so what was to be written may have been, or
 * may be a while later, also over what is written there by then. The connection lives on.
 *
 * Other threads use the same disk by `share` and `attach`.
 *
 * @context the thread that connected, or attached
 */
import { constants } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { isUint8Array } from 'node:util/types'
import { configError, NBDError } from '../shared/errors/nbd-error.ts'
import {
  BASE_ALLOCATION,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH
} from '../shared/protocol/constants.ts'
import type { BlockSizes } from '../shared/protocol/messages/export-info.ts'
import { NBD_PACKETS, type NBDPackets } from '../shared/protocol/nbd-mode.ts'
import { ConnectionSet, type ConnectionState, type SharedSetHandle } from './connection/connection-set.ts'
import type { Target } from './connection/target.ts'
import { blocksOf } from './disk/blocks.ts'
import { AlignedIO, type DiskIO } from './disk/disk-io.ts'
import { readBlocks, type ReadBlocksOptions } from './disk/read-blocks.ts'
import { DiskReadStream, webReadable, type ReadStreamOptions } from './disk/read-stream.ts'
import type { WriteStreamOptions } from './disk/sequential-writer.ts'
import { WidenedIO } from './disk/widened-io.ts'
import { WriteBarrier } from './disk/write-barrier.ts'
import { DiskWriteStream, webWritable } from './disk/write-stream.ts'
import { flagsOf, type NBDFlags } from './flags.ts'
import type { Handshake } from './negotiation/negotiated.ts'
import {
  blockStatus,
  blockStatusAll,
  cutExtents,
  type NBDExtent,
  type NBDStatus,
  type StatusSource
} from './transmission/block-status.ts'
import { Cancellation, type CallOptions } from './transmission/cancellation.ts'
import { checkCommand, checkStatus } from './transmission/check-command.ts'
import type { FilePart } from './transmission/file-payload.ts'
import type { Command, Status } from './transmission/pending-request.ts'

export interface DiskOptions {
  /**
   * What becomes of calls that are not of whole blocks, where the server takes no others (`blockSizes.minimum`):
   * `refuse` (if not given) lets them fail with EINVAL. `widen` makes whole blocks of them: reads are cut; writes and
   * zeroing read and write back what they cover of a block, one call after the other where they share one (but other
   * clients of the server are not kept out); trimming leaves blocks alone that it does not cover.
   */
  unaligned?: 'refuse' | 'widen' | undefined
  /** For each call that gives no `timeoutMs` of its own; without it there is no limit. */
  timeoutMs?: number | undefined
}

/** A disk as another thread is given it: postable, any number of times, and good for as long as somebody has the disk. */
export interface DiskHandle extends SharedSetHandle {
  timeoutMs: number | undefined
}

export interface WriteOptions extends CallOptions {
  /** Resolve only when it is on stable storage. Needs `flags.canFua`. */
  fua?: boolean
}

export interface ZeroOptions extends WriteOptions {
  /** Keep the space allocated. */
  noHole?: boolean
  /** Fail with ENOTSUP rather than be as slow as a write. Needs `flags.canFastZero`. */
  fast?: boolean
}

export interface BlockStatusOptions extends CallOptions {
  /** One of the disk's `metaContexts`; `base:allocation` if not given. */
  metaContext?: string | undefined
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
  /** The form of requests and replies that was negotiated. */
  readonly packets: NBDPackets
  /** Those that `blockStatus` can tell about: of the ones that were asked for, those that the server has. */
  readonly metaContexts: readonly string[]
  /** All that the export has; undefined when the server was not asked (`listContexts`), or does not tell. */
  readonly offeredContexts: readonly string[] | undefined
  /** All data goes by TLS. */
  readonly tls: boolean
  readonly #connections: ConnectionSet
  readonly #target: Pick<Target, 'close'>
  readonly #timeoutMs: number | undefined
  readonly #io: DiskIO
  readonly #widens: boolean
  /** Blocks that calls are made of. */
  readonly #blockSize: number
  readonly #barrier = new WriteBarrier()

  /** @param target what was connected to: the disk's, to close */
  constructor(
    connections: ConnectionSet,
    target: Pick<Target, 'close'>,
    { unaligned = 'refuse', timeoutMs }: DiskOptions = {}
  ) {
    const { negotiated } = connections
    const { minimum } = negotiated.blockSizes
    const widens = unaligned === 'widen' && minimum > 1
    this.size = negotiated.size
    this.flags = flagsOf(negotiated)
    this.blockSizes = negotiated.blockSizes
    this.blockSizesAdvertised = negotiated.blockSizesAdvertised
    this.exportName = negotiated.exportName
    this.description = negotiated.description
    this.handshake = negotiated.handshake
    this.packets = NBD_PACKETS[negotiated.mode]
    this.metaContexts = [...negotiated.contexts.values()]
    this.offeredContexts = negotiated.offeredContexts
    this.tls = connections.tls
    this.#connections = connections
    this.#target = target
    this.#timeoutMs = timeoutMs
    this.#widens = widens
    this.#io = widens ? new WidenedIO(connections) : new AlignedIO(connections)
    this.#blockSize = widens ? 1 : minimum
  }

  /**
   * The disk in this thread, by a handle that `share` has made in another, or in this one. All share the connection; each
   * is to be closed, and what one does in no way depends on the others.
   *
   * @throws NBDError of kind `transport` or `protocol` when the disk was closed, or its connection lost; of kind `request`
   *   (EMFILE), or when too many share it
   */
  static attach(handle: DiskHandle): NBDDisk {
    const nothing = { close: async () => undefined }
    return new NBDDisk(ConnectionSet.attach(handle), nothing, { timeoutMs: handle.timeoutMs })
  }

  get readOnly(): boolean {
    return this.flags.readOnly
  }

  /** How many there are now. */
  get connections(): number {
    return this.#connections.size
  }

  /** Whether what `writeFile` writes does not pass through our memory: on TCP and Unix sockets without TLS. */
  get sendsFiles(): boolean {
    return !this.#widens && this.#connections.sendsFiles
  }

  get state(): ConnectionState {
    return this.#connections.state
  }

  /**
   * Reads.
   *
   * @param into length in bytes, or a buffer that is to be filled; that is the disk's until the promise settles
   * @returns a new buffer, the caller's; or the one that was given
   * @throws NBDError; why the call was given up
   */
  read(offset: number, into: number, options?: CallOptions): Promise<Buffer>
  read<T extends Uint8Array>(offset: number, into: T, options?: CallOptions): Promise<T>
  async read(offset: number, into: number | Uint8Array, options?: CallOptions): Promise<Uint8Array> {
    if (typeof into !== 'number') {
      const buffer = bytesOf(into)
      await this.#call(options, (limit) => this.#io.read(offset, buffer.length, [buffer], limit))
      return into
    }
    const buffer = newBuffer(offset, into, this.size)
    await this.#call(options, (limit) => this.#io.read(offset, into, [buffer], limit))
    return buffer
  }

  /**
   * Reads into a buffer that is asked for when the first of the data are there: reads that wait for the server need no
   * memory of their own.
   *
   * @param allocate called once at the most; returns `length` bytes, the disk's until the promise settles. Must not throw
   * @throws NBDError; why the call was given up
   */
  async readLate(
    offset: number,
    length: number,
    allocate: () => Uint8Array,
    options?: CallOptions
  ): Promise<void> {
    await this.#call(options, (limit) => this.#io.read(offset, length, () => bytesOf(allocate()), limit))
  }

  /**
   * Reads to see that it can be read, or to have the server read it: what comes is dropped, on TCP and Unix sockets without
   * bringing it here.
   *
   * @throws NBDError; why the call was given up
   */
  async readAndDrop(offset: number, length: number, options?: CallOptions): Promise<void> {
    await this.#call(options, (limit) => this.#io.readAndDrop(offset, length, limit))
  }

  /**
   * Reads into several buffers, one behind the other, as if they were one.
   *
   * @param buffers the disk's until the promise settles
   * @throws NBDError; why the call was given up
   * @see preadv(2)
   */
  async readv(offset: number, buffers: readonly Uint8Array[], options?: CallOptions): Promise<void> {
    const all = buffers.map(bytesOf)
    const length = all.reduce((sum, buffer) => sum + buffer.length, 0)
    await this.#call(options, (limit) => this.#io.read(offset, length, all, limit))
  }

  /**
   * Writes. When it fails, or is given up, some of it may have been written, or may yet be.
   *
   * @param data the disk's until the promise settles
   * @throws NBDError; why the call was given up
   */
  write(offset: number, data: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.#write(options, (limit) =>
      this.#io.write(offset, bytesOf(data), fuaFlag(options?.fua), limit)
    )
  }

  /**
   * Writes `length` bytes of an open file. With `sendsFiles` they go from the page cache to the server; otherwise they
   * are read before, in this thread. In both cases it waits for the disk where they are not cached.
   *
   * @param file stays the caller's, and open until the promise settles. When it ends before, the call fails, and with
   *   `sendsFiles` the connection, too
   * @throws NBDError; why the call was given up
   * @see sendfile(2)
   */
  writeFile(offset: number, length: number, file: FilePart, options?: WriteOptions): Promise<void> {
    return this.#write(options, (limit) =>
      this.#io.writeFile(offset, length, file, fuaFlag(options?.fua), limit)
    )
  }

  /** Makes a range read as zeroes. When it fails or is given up, some of it may. @throws NBDError */
  zero(offset: number, length: number, options: ZeroOptions = {}): Promise<void> {
    const { fua, noHole = false, fast = false } = options
    const flags = fuaFlag(fua) | (noHole ? NBD_CMD_FLAG_NO_HOLE : 0) | (fast ? NBD_CMD_FLAG_FAST_ZERO : 0)
    return this.#write(options, (limit) => this.#io.zero(offset, length, flags, limit))
  }

  /** Tells the server that a range is no longer needed; what it reads as then is not defined. @throws NBDError */
  trim(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#write(options, (limit) => this.#io.trim(offset, length, fuaFlag(options?.fua), limit))
  }

  /** Tells the server that a range will be read soon. @throws NBDError */
  cache(offset: number, length: number, options?: CallOptions): Promise<void> {
    return this.#call(options, (limit) => this.#io.cache(offset, length, limit))
  }

  /**
   * Brings all writes that were called before to stable storage: it waits for those that are in flight. One that fails
   * or is given up is not covered. @throws NBDError
   */
  async flush(options?: CallOptions): Promise<void> {
    const command = { type: NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 }
    checkCommand(command, this.#connections.negotiated)
    await this.#call(options, async (limit) => {
      const passed = this.#barrier.passed()
      if (passed) await (limit ? limit.race(passed, command) : passed)
      await this.#connections.request(command, limit)
    })
  }

  /**
   * What one context says, by default what is data, hole, zeroes (`base:allocation`): extents in order that cover the range, neighbours with different
   * flags. Asks the server as it is iterated.
   *
   * @param options `timeoutMs` is for each question to the server
   * @throws NBDError from the iteration; why it was given up
   */
  async *blockStatus(
    offset = 0,
    length = this.size - offset,
    { metaContext = BASE_ALLOCATION, ...options }: BlockStatusOptions = {}
  ): AsyncGenerator<NBDExtent, void, undefined> {
    const { start, end } = this.#statusRange(offset, length, [metaContext])
    const extents = blockStatus(start, end - start, metaContext, this.#statusSource(options))
    yield* cutExtents(extents, offset, offset + length)
  }

  /** As `blockStatus`, for all of `metaContexts` together: neighbours differ in at least one of them. */
  async *blockStatusAll(
    offset = 0,
    length = this.size - offset,
    options: CallOptions = {}
  ): AsyncGenerator<NBDStatus, void, undefined> {
    const { start, end } = this.#statusRange(offset, length, this.metaContexts)
    const extents = blockStatusAll(start, end - start, this.metaContexts, this.#statusSource(options))
    yield* cutExtents(extents, offset, offset + length)
  }

  /**
   * Reads a range from front to back, in blocks, each a new buffer that is the caller's; four are read ahead.
   *
   * @throws NBDError from the iteration; why it was given up
   */
  readBlocks(options?: ReadBlocksOptions): AsyncGenerator<Buffer, void, undefined> {
    return readBlocks(this, options)
  }

  /** A range as a stream of Node's. Destroyed, it gives up its reads in flight. */
  createReadStream(options?: ReadStreamOptions): Readable {
    return new DiskReadStream(this, options)
  }

  /**
   * A stream of Node's that writes from `start` on, in whole blocks as they fill up. It has finished when all is written,
   * and flushed if that was asked for; what goes beyond the end of the disk is an error. Destroyed, it gives up its
   * writes in flight.
   */
  createWriteStream(options?: WriteStreamOptions): Writable {
    return new DiskWriteStream(this, options)
  }

  /** As `createReadStream`, a stream of bytes of the web's. */
  readable(options?: ReadStreamOptions): ReadableStream<Uint8Array> {
    return webReadable(this, options)
  }

  /** As `createWriteStream`, a stream of the web's. */
  writable(options?: WriteStreamOptions): WritableStream<Uint8Array> {
    return webWritable(this, options)
  }

  /**
   * Lets other threads use the disk, by its connection: each sends requests and gets their replies by itself. Calls in
   * flight are answered first; new ones wait meanwhile. With `reconnectDelayMs`, this disk makes a lost connection again,
   * for all, until it is closed.
   *
   * @returns for `attach`, in other threads
   * @throws NBDError of kind `config` when it cannot be shared: with TLS, or over anything but a socket, unless it was
   *   connected as `shareable`; or when calls are widened. Of another kind when the connection is lost
   */
  async share(): Promise<DiskHandle> {
    // Threads do not keep out of each other's blocks.
    if (this.#widens) throw configError('a disk whose calls are widened cannot be shared by threads')
    return { ...(await this.#connections.share()), timeoutMs: this.#timeoutMs }
  }

  /**
   * Waits for the replies to all calls in flight, and disconnects; a connection that other threads use goes on until the
   * last of them is closed. Further calls fail. Never fails itself.
   */
  async close(): Promise<void> {
    await this.#connections.close()
    await this.#target.close()
  }

  /** As `close`, for this disk and all that share its connection: they are closed, too. */
  async closeAll(): Promise<void> {
    await this.#connections.close(true)
    await this.#target.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** The whole blocks that a range covers. */
  #statusRange(offset: number, length: number, contexts: readonly string[]): { start: number; end: number } {
    const command = { type: NBD_CMD_BLOCK_STATUS, flags: 0, offset, length }
    checkStatus(command, contexts, this.#connections.negotiated, this.#blockSize)
    return blocksOf(offset, length, this.blockSizes.minimum)
  }

  #statusSource(options: CallOptions): StatusSource {
    const send = (command: Command): Promise<Status> =>
      this.#call(options, (limit) => this.#connections.request(command, limit))
    return { send, extended: this.packets === 'extended' }
  }

  #write(options: CallOptions | undefined, run: (limit?: Cancellation) => Promise<void>): Promise<void> {
    return this.#barrier.during(() => this.#call(options, run))
  }

  async #call<T>(options: CallOptions | undefined, run: (limit?: Cancellation) => Promise<T>): Promise<T> {
    const timeoutMs = options?.timeoutMs ?? this.#timeoutMs
    const limit = Cancellation.start({ signal: options?.signal, timeoutMs })
    if (!limit) return run()
    try {
      return await run(limit)
    } finally {
      limit.end()
    }
  }
}

const fuaFlag = (fua = false): number => (fua ? NBD_CMD_FLAG_FUA : 0)

/** The same bytes as a Buffer. @throws TypeError */
function bytesOf(data: Uint8Array): Buffer {
  if (!isUint8Array(data)) throw new TypeError('data must be a Buffer or Uint8Array')
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

/**
 * For data to be read into.
 *
 * @throws NBDError of kind `request` when there is not that much memory
 */
function newBuffer(offset: number, length: number, size: number): Buffer {
  // What cannot be is refused later, with a better message.
  if (!(length > 0 && length <= size)) return Buffer.alloc(0)
  try {
    return Buffer.allocUnsafeSlow(length)
  } catch (error) {
    const text = `NBD_CMD_READ of ${length} bytes at ${offset}: there is no memory for so much at once`
    throw new NBDError('request', text, { errno: constants.errno.ENOMEM, cause: error })
  }
}
