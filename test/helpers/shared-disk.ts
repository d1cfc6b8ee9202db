/** A disk that the threads of a test share: what runs in each of them. */
import * as crypto from 'node:crypto'
import { attach, type DiskHandle, type NBDDisk } from '../../client/index.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { randomLoad } from './random-load.ts'

const entry = <A, R>(name: string): EntryPoint<A, R> => ({ module: import.meta.url, name })

let disk: NBDDisk | undefined

export const ATTACH = entry<DiskHandle, number>('attachDisk')
/** @returns the size of the disk */
export function attachDisk(handle: DiskHandle): number {
  disk = attach(handle)
  return disk.size
}

export interface LoadOptions {
  /** Where the thread's own part of the disk begins, and how long it is. */
  base: number
  size: number
  /** Requests in flight. */
  depth: number
  steps: number
}

export const LOAD = entry<LoadOptions, { steps: number; sha256: string }>('load')
/** Random requests. @returns how many there were, and of what the thread's part must consist now */
export async function load({ base, size, depth, steps: least }: LoadOptions): Promise<{
  steps: number
  sha256: string
}> {
  const shadow = Buffer.alloc(size)
  const steps = await randomLoad([disk!], shadow, depth, (steps) => steps >= least, base)
  return { steps, sha256: sha256(shadow) }
}

interface Rounds {
  /** Where the thread's own part begins. */
  base: number
  rounds: number
}

const SHORT = 512
const LONG = 64 * 1024
const SHORTS = 40
const LONGS = 4
/** Bytes that `writeAndRead` works on. */
export const ROUNDS_SIZE = SHORTS * SHORT + LONGS * LONG

export const WRITE_AND_READ = entry<Rounds, string[]>('writeAndRead')
/** Writes whole blocks, many at once, and reads them again, on any server. @returns what was wrong */
export async function writeAndRead({ base, rounds }: Rounds): Promise<string[]> {
  const wrong: string[] = []
  const block = async (offset: number, length: number): Promise<void> => {
    const data = crypto.randomBytes(length)
    await disk!.write(offset, data)
    if (!(await disk!.read(offset, length)).equals(data)) wrong.push(`${length} bytes at ${offset}`)
  }
  for (let round = 0; round < rounds; round++) {
    await Promise.all([
      ...Array.from({ length: LONGS }, (_, i) => block(base + i * LONG, LONG)),
      ...Array.from({ length: SHORTS }, (_, i) => block(base + LONGS * LONG + i * SHORT, SHORT))
    ])
  }
  return wrong
}

export const sha256 = (bytes: Buffer): string => crypto.createHash('sha256').update(bytes).digest('hex')

/** What a read has come to. */
export interface Outcome {
  length?: number
  error?: { kind: string; message: string }
}

export const READ = entry<{ offset: number; length: number; count: number }, Outcome[]>('readMany')
/** Reads the same bytes several times at once. */
export async function readMany({
  offset,
  length,
  count
}: {
  offset: number
  length: number
  count: number
}): Promise<Outcome[]> {
  const outcome = async (): Promise<Outcome> => {
    try {
      return { length: (await disk!.read(offset, length)).length }
    } catch (error) {
      if (!NBDError.is(error)) throw error
      return { error: { kind: error.kind, message: error.message } }
    }
  }
  return Promise.all(Array.from({ length: count }, outcome))
}

export const STATE = entry<undefined, string>('stateOfDisk')
export const stateOfDisk = (): string => disk!.state

export const BEGIN_READING = entry<{ offset: number; length: number; count: number }, void>('beginReading')
/** As `readMany`, and nobody asks what becomes of it. */
export function beginReading(what: { offset: number; length: number; count: number }): void {
  void readMany(what)
}

export const CLOSE = entry<undefined, void>('closeDisk')
export async function closeDisk(): Promise<void> {
  await disk!.close()
}
