/** Random requests of all kinds against a disk, and a shadow of it that knows what must be there. */
import * as crypto from 'node:crypto'
import type { NBDDisk } from '../../client/index.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** The longest request. */
const LONGEST = 2 * MiB
/** Every so many lanes one has room for the longest. Odd lengths: neighbours share sectors and pages. */
const LONG_LANE_EVERY = 32
const LONG_LANE = 2 * MiB + 1001
const SHORT_LANE = 100 * KiB + 7

const laneLength = (number: number): number => (number % LONG_LANE_EVERY === 0 ? LONG_LANE : SHORT_LANE)

/** Bytes that so many connections with so many requests in flight need. */
export function loadSize(connections: number, depth: number): number {
  let size = 0
  for (let i = 0; i < connections * depth; i++) size += laneLength(i)
  return Math.ceil(size / MiB) * MiB
}

/** From 1 to `most`: as often below 1 KiB as above. */
const anyLength = (most: number): number => Math.ceil(most ** Math.random())

/** A part of a disk with one request in flight at a time: so it is known what must be there. */
class Lane {
  readonly #disk: NBDDisk
  readonly #base: number
  readonly #start: number
  readonly #length: number
  readonly #shadow: Buffer

  /** @param shadow of the disk from `base` on, as `start` counts from there */
  constructor(disk: NBDDisk, shadow: Buffer, base: number, start: number, length: number) {
    this.#disk = disk
    this.#base = base
    this.#start = start
    this.#length = length
    this.#shadow = shadow
  }

  /** One request. @throws Error when a read brings other bytes than it must */
  async step(): Promise<void> {
    const length = anyLength(Math.min(LONGEST, this.#length))
    const offset = this.#start + crypto.randomInt(this.#length - length + 1)
    const kind = crypto.randomInt(40)
    if (kind < 15) await this.#read(offset, length)
    else if (kind < 30) await this.#write(offset, length, kind === 15)
    else if (kind < 35) await this.#zero(offset, length, kind === 30)
    else if (kind < 37) await this.#trim(offset, length)
    else if (kind < 39) await this.#disk.cache(this.#base + offset, length)
    else await this.#disk.flush()
  }

  async #read(offset: number, length: number): Promise<void> {
    const bytes = await this.#disk.read(this.#base + offset, length)
    if (!bytes.equals(this.#shadow.subarray(offset, offset + length)))
      throw new Error(`wrong data in ${length} bytes at ${this.#base + offset}`)
  }

  async #write(offset: number, length: number, fua: boolean): Promise<void> {
    const bytes = crypto.randomBytes(length)
    await this.#disk.write(this.#base + offset, bytes, { fua })
    bytes.copy(this.#shadow, offset)
  }

  async #zero(offset: number, length: number, fua: boolean): Promise<void> {
    await this.#disk.zero(this.#base + offset, length, { fua, noHole: crypto.randomInt(2) === 0 })
    this.#shadow.fill(0, offset, offset + length)
  }

  /** What a trim leaves is not defined: it is written over before anybody looks. */
  async #trim(offset: number, length: number): Promise<void> {
    await this.#disk.trim(this.#base + offset, length)
    await this.#write(offset, length, false)
  }
}

/**
 * Works on the disk behind `connections`, with `depth` requests in flight on each, until `enough` says so.
 *
 * @param shadow of at least `loadSize` bytes, is kept up to date
 * @param base where the part of the disk begins that is worked on
 * @returns how many requests were made
 */
export async function randomLoad(
  connections: NBDDisk[],
  shadow: Buffer,
  depth: number,
  enough: (steps: number) => boolean,
  base = 0
): Promise<number> {
  let start = 0
  let steps = 0
  const work = async (lane: Lane): Promise<void> => {
    do {
      await lane.step()
      steps++
    } while (!enough(steps))
  }
  const lanes = Array.from({ length: connections.length * depth }, (_, i) => {
    const length = laneLength(i)
    start += length
    // Neighbours belong to different connections.
    return work(new Lane(connections[i % connections.length]!, shadow, base, start - length, length))
  })
  await Promise.all(lanes)
  return steps
}
