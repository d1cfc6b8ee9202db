/**
 * Any ranges on a server that takes whole blocks only. Reads are widened and cut. Of what is written, blocks that are
 * covered in part are read, changed and written back, while nobody else of this disk writes to them.
 *
 * @context the thread that connected
 * @see bdrv_co_pwritev_part and bdrv_padding_rmw_read in QEMU's block/io.c
 */
import {
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../../shared/protocol/constants.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'
import type { Cancellation } from '../transmission/cancellation.ts'
import { checkCommand } from '../transmission/check-command.ts'
import { inMemory, type FilePart } from '../transmission/file-payload.ts'
import type { Command } from '../transmission/pending-request.ts'
import { blocksOf, type Blocks, type Edge } from './blocks.ts'
import { AlignedIO, type DiskIO, type ReadBuffers, type Requester } from './disk-io.ts'
import { RangeLock } from './range-lock.ts'

/** Puts into a block what belongs there. */
type Fill = (block: Buffer, edge: Edge) => void

export class WidenedIO implements DiskIO {
  readonly #aligned: AlignedIO
  readonly #negotiated: Negotiated
  readonly #lock = new RangeLock()

  constructor(requester: Requester) {
    this.#aligned = new AlignedIO(requester)
    this.#negotiated = requester.negotiated
  }

  async read(
    offset: number,
    length: number,
    buffers: ReadBuffers,
    cancellation?: Cancellation
  ): Promise<void> {
    const { start, end } = this.#blocksOf({ type: NBD_CMD_READ, flags: 0, offset, length })
    const before = Buffer.allocUnsafe(offset - start)
    const behind = Buffer.allocUnsafe(end - offset - length)
    const middle = typeof buffers === 'function' ? [buffers()] : buffers
    await this.#aligned.read(start, end - start, [before, ...middle, behind], cancellation)
  }

  async readAndDrop(offset: number, length: number, cancellation?: Cancellation): Promise<void> {
    const { start, end } = this.#blocksOf({ type: NBD_CMD_READ, flags: 0, offset, length })
    await this.#aligned.readAndDrop(start, end - start, cancellation)
  }

  async write(offset: number, data: Buffer, flags: number, cancellation?: Cancellation): Promise<void> {
    const command = { type: NBD_CMD_WRITE, flags, offset, length: data.length }
    const blocks = this.#blocksOf(command)
    const fill: Fill = (block, { block: at, from, to }) =>
      data.copy(block, from, at + from - offset, at + to - offset)
    const middle = data.subarray(blocks.middleStart - offset, blocks.middleEnd - offset)
    await this.#locked(command, blocks, cancellation, () => [
      ...this.#edges(blocks, flags, fill, cancellation),
      ...(middle.length > 0 ? [this.#aligned.write(blocks.middleStart, middle, flags, cancellation)] : [])
    ])
  }

  async writeFile(
    offset: number,
    length: number,
    file: FilePart,
    flags: number,
    cancellation?: Cancellation
  ): Promise<void> {
    const command = { type: NBD_CMD_WRITE, flags, offset, length, file }
    checkCommand(command, this.#negotiated, 1)
    await this.write(offset, inMemory(command).data!, flags, cancellation)
  }

  async zero(offset: number, length: number, flags: number, cancellation?: Cancellation): Promise<void> {
    const command = { type: NBD_CMD_WRITE_ZEROES, flags, offset, length }
    const blocks = this.#blocksOf(command)
    const { middleStart, middleEnd } = blocks
    const fill: Fill = (block, { from, to }) => block.fill(0, from, to)
    await this.#locked(command, blocks, cancellation, () => [
      ...this.#edges(blocks, flags & NBD_CMD_FLAG_FUA, fill, cancellation),
      ...(middleEnd > middleStart
        ? [this.#aligned.zero(middleStart, middleEnd - middleStart, flags, cancellation)]
        : [])
    ])
  }

  /** Only of blocks that are covered: the others are still needed. */
  async trim(offset: number, length: number, flags: number, cancellation?: Cancellation): Promise<void> {
    const command = { type: NBD_CMD_TRIM, flags, offset, length }
    const blocks = this.#blocksOf(command)
    const [start, end] = [blocks.middleStart, blocks.middleEnd]
    if (end <= start) return
    await this.#locked(command, { start, end }, cancellation, () => [
      this.#aligned.trim(start, end - start, flags, cancellation)
    ])
  }

  async cache(offset: number, length: number, cancellation?: Cancellation): Promise<void> {
    const { start, end } = this.#blocksOf({ type: NBD_CMD_CACHE, flags: 0, offset, length })
    await this.#aligned.cache(start, end - start, cancellation)
  }

  /** @throws NBDError when there is something else wrong with the command than that it is not of whole blocks */
  #blocksOf(command: Command): Blocks {
    checkCommand(command, this.#negotiated, 1)
    return blocksOf(command.offset, command.length, this.#negotiated.blockSizes.minimum)
  }

  /**
   * Holds the blocks while `work` goes on. A call that is given up fails at once; but the blocks stay held until the
   * last reply has come, since the server may still be about to write back what it was sent.
   *
   * @throws the first error
   */
  async #locked(
    command: Command,
    { start, end }: Pick<Blocks, 'start' | 'end'>,
    cancellation: Cancellation | undefined,
    work: () => Promise<void>[]
  ): Promise<void> {
    const release = await this.#lock.acquire(start, end, command, cancellation)
    const done = allOf(work()).finally(release)
    await (cancellation ? cancellation.race(done, command) : done)
  }

  #edges(
    { edges }: Blocks,
    flags: number,
    fill: Fill,
    cancellation: Cancellation | undefined
  ): Promise<void>[] {
    return edges.map(async (edge) => {
      const block = Buffer.allocUnsafeSlow(this.#negotiated.blockSizes.minimum)
      await this.#aligned.read(edge.block, block.length, [block], cancellation)
      // What is to be written may be its owner's again.
      cancellation?.throwIfCancelled()
      fill(block, edge)
      await this.#aligned.writeUntilDone(edge.block, block, flags, cancellation)
    })
  }
}

/** Waits for all. @throws the first error, then */
async function allOf(promises: Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(promises)
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}
