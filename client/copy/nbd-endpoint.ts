/** An export of an NBD server, behind as many connections as are wanted and it allows. */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { connect, type ConnectOptions } from '../connect.ts'
import { isWebsocketUrl } from '../connection/websocket-url.ts'
import type { NBDDisk } from '../nbd-disk.ts'
import type { NBDExtent } from '../transmission/block-status.ts'
import { failure, type Destination, type Source } from './endpoint.ts'
import { writeZeroes } from './zeroes.ts'

/** Asked for in one go: an answer is there soon, and what it tells is used before the next is needed. */
const STATUS_WINDOW = 1024 * 1024 * 1024

/** For further connections. */
const MORE_TIMEOUT_MS = 3000

/** Where a server does not say what serves it best. */
const DEFAULT_PREFERRED = 4096

/** How a server is connected to. */
export interface ServerOptions {
  /** At most; one, unless the server promises that they see the same. */
  connections: number
  /** How long to wait for a server that has gone to be there again; absent: not at all. */
  reconnectDelayMs?: number | undefined
}

class NBDEndpoint {
  readonly name: string
  readonly size: number
  readonly minimum: number
  readonly preferred: number
  readonly connections: number
  protected readonly disks: readonly NBDDisk[]

  constructor(name: string, disks: readonly NBDDisk[]) {
    const { size, blockSizes } = disks[0]!
    this.name = name
    this.size = size
    this.minimum = blockSizes.minimum
    this.preferred = isPowerOfTwo(blockSizes.preferred) ? blockSizes.preferred : DEFAULT_PREFERRED
    this.connections = disks.length
    this.disks = disks
  }

  async close(): Promise<void> {
    await Promise.all(this.disks.map((disk) => disk.close()))
  }

  /** The connection that a lane uses. */
  protected of(lane: number): NBDDisk {
    return this.disks[lane % this.disks.length]!
  }
}

const isPowerOfTwo = (value: number): boolean => value > 0 && (value & (value - 1)) === 0

export class NBDSource extends NBDEndpoint implements Source {
  readonly kind = 'random'

  /** @throws NBDError */
  static async open(uri: string, options: ServerOptions): Promise<NBDSource> {
    return new NBDSource(uri, await openDisks(uri, options))
  }

  async read(offset: number, length: number, memory: () => Memory, lane: number): Promise<void> {
    try {
      await this.of(lane).readLate(offset, length, () => memory().buffer.subarray(0, length))
    } catch (error) {
      throw failure(`cannot read '${this.name}'`, error)
    }
  }

  async readAndDrop(offset: number, length: number, lane: number): Promise<void> {
    try {
      await this.of(lane).readAndDrop(offset, length)
    } catch (error) {
      throw failure(`cannot read '${this.name}'`, error)
    }
  }

  async *extents(offset: number, length: number): AsyncGenerator<NBDExtent, void, undefined> {
    const disk = this.of(0)
    if (!disk.flags.canBlockStatus) {
      if (length > 0) yield { offset, length, flags: 0 }
      return
    }
    try {
      // Not all of it at once: neighbours that are alike come as one extent, when the last of them is known.
      for (let done = 0; done < length; done += STATUS_WINDOW)
        yield* disk.blockStatus(offset + done, Math.min(STATUS_WINDOW, length - done))
    } catch (error) {
      throw failure(`cannot tell what '${this.name}' has allocated`, error)
    }
  }
}

export class NBDDestination extends NBDEndpoint implements Destination {
  readonly sequential = false
  readonly sparse = true
  readonly isZero = false
  readonly writeFile?: (offset: number, length: number, fd: number, lane: number) => Promise<void>
  /** Servers that cannot zero. */
  readonly #writesZeroes: boolean

  private constructor(name: string, disks: readonly NBDDisk[]) {
    super(name, disks)
    this.#writesZeroes = !disks[0]!.flags.canZero
    if (disks.every((disk) => disk.sendsFiles))
      this.writeFile = (offset, length, fd, lane) =>
        this.#write(this.of(lane).writeFile(offset, length, { fd, position: offset }))
  }

  /**
   * @param flush whether `flush` will be called
   * @throws NBDError; of kind `config` when the export cannot be what is asked of it
   */
  static async open(uri: string, options: ServerOptions, flush: boolean): Promise<NBDDestination> {
    const disks = await openDisks(uri, options)
    const { readOnly, canFlush } = disks[0]!.flags
    const problem = readOnly
      ? 'the export is read-only'
      : flush && !canFlush
        ? 'the server does not offer to flush'
        : undefined
    if (problem === undefined) return new NBDDestination(uri, disks)
    await Promise.all(disks.map((disk) => disk.close()))
    throw new NBDError('config', `cannot copy to '${uri}': ${problem}`)
  }

  async prepare(): Promise<void> {
    // An export has its size, and what is not written stays as it was.
  }

  write(offset: number, length: number, { buffer }: Memory, at: number, lane: number): Promise<void> {
    return this.#write(this.of(lane).write(offset, buffer.subarray(at, at + length)))
  }

  zero(offset: number, length: number, allocate: boolean, lane: number): Promise<void> {
    if (this.#writesZeroes) return writeZeroes(this, offset, length, lane)
    return this.#write(this.of(lane).zero(offset, length, { noHole: allocate }))
  }

  async finish(): Promise<void> {
    // All has been answered.
  }

  /** One is enough: a server with several connections promises that it covers what was written on all. */
  async flush(): Promise<void> {
    try {
      await this.of(0).flush()
    } catch (error) {
      throw failure(`cannot flush '${this.name}'`, error)
    }
  }

  async #write(written: Promise<void>): Promise<void> {
    try {
      await written
    } catch (error) {
      throw failure(`cannot write '${this.name}'`, error)
    }
  }
}

/** The first tells whether there may be more; of these, those that do not come soon are done without. */
async function openDisks(uri: string, { connections, reconnectDelayMs }: ServerOptions): Promise<NBDDisk[]> {
  const target = isWebsocketUrl(uri) ? { websocket: uri } : uri
  const first = await connect(target, { reconnectDelayMs })
  if (!first.flags.canMultiConn) return [first]
  // A server that serves fewer clients at a time lets the others wait.
  const options: ConnectOptions = { reconnectDelayMs, handshakeTimeoutMs: MORE_TIMEOUT_MS }
  const more = await Promise.allSettled(
    Array.from({ length: connections - 1 }, () => connect(target, options))
  )
  return [first, ...more.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))]
}
