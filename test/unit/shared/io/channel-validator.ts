/**
 * One test for channels of every kind: 250 pieces of 4,194 bytes, none like another, from one end to the other.
 *
 * @see QEMU tests/unit/io-channel-helpers.c
 */
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import type { IOThread } from '../../../../shared/iothread/io-thread.ts'
import type { EntryPoint } from '../../../../shared/aio/entry-point.ts'
import { iovLength, type IOVec, type QIOChannel } from '../../../../shared/io/channel.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { kinds, type End, type KindName, type Role } from './channel-kinds.ts'

const PIECES = 250
const PIECE_SIZE = 4194

export const iovecs = (pieces = PIECES, size = PIECE_SIZE): IOVec[] =>
  Array.from({ length: pieces }, () => {
    const memory = Memory.allocate(size)
    memory.buffer.fill(0)
    return { memory, start: 0, end: size }
  })

/** Fills the pieces, as one stream of bytes, with ascending words that begin with `seed`. */
export function fillPattern(iov: IOVec[], seed: number): void {
  const words = Uint32Array.from({ length: Math.ceil(iovLength(iov) / 4) }, (_, i) => seed + i)
  const bytes = Buffer.from(words.buffer)
  let at = 0
  for (const { memory, start, end } of iov) at += bytes.copy(memory.buffer, start, at, at + end - start)
}

export const equalBytes = (a: IOVec[], b: IOVec[]): boolean =>
  Buffer.concat(a.map(({ memory, start, end }) => memory.buffer.subarray(start, end))).equals(
    Buffer.concat(b.map(({ memory, start, end }) => memory.buffer.subarray(start, end)))
  )

/** How the transfers of a channel went. */
export interface Transfers {
  /** They moved less than they were asked for, or nothing. */
  partial: number
}

/** Counts the partial transfers of a channel from now on. */
function watch(channel: QIOChannel): Transfers {
  const transfers = { partial: 0 }
  const counted = (iov: readonly IOVec[], n: number): number => {
    if (n < iovLength(iov)) transfers.partial++
    return n
  }
  const readv = channel.readv.bind(channel)
  const writev = channel.writev.bind(channel)
  channel.readv = (iov) => counted(iov, readv(iov))
  channel.writev = (iov) => counted(iov, writev(iov))
  return transfers
}

/** What an end writes, by the number of the end. */
const seedOf = (end: number): number => 0x1000_0000 * (end + 1)

function* write(channel: QIOChannel, seed: number): CoroutineFn {
  const iov = iovecs()
  fillPattern(iov, seed)
  yield* channel.writevAll(iov)
}

function* read(channel: QIOChannel, seed: number): CoroutineFn {
  const expected = iovecs()
  fillPattern(expected, seed)
  const iov = iovecs()
  yield* channel.readvAll(iov)
  if (!equalBytes(iov, expected)) throw new Error('what was read is not what was written')
}

/** Postable. */
export interface EndArgument {
  kind: KindName
  end: End<unknown>
  /** Numbers of this end and of the one that writes what is read here. */
  number: number
  from: number
}

/** Opens one end in the calling thread, lets its writer and reader coroutine do their work, and closes it. */
export async function runEnd({ kind, end, number, from }: EndArgument): Promise<Transfers> {
  const { open, rewind } = kinds[kind]
  const channel = await open(end.handle)
  const transfers = watch(channel)
  const start = (task: (channel: QIOChannel, seed: number) => CoroutineFn, of: number): Promise<void> =>
    Coroutine.start(() => task(channel, seedOf(of))).catch((error: unknown) => {
      // The other coroutine must not wait for what will never come.
      channel.shutdown('both')
      throw error
    })
  const work: Record<Role, () => Promise<unknown>> = {
    write: () => start(write, number),
    read: () => start(read, from),
    both: () => Promise.all([start(write, number), start(read, from)]),
    'write, then read': async () => {
      await start(write, number)
      rewind!(channel)
      await start(read, from)
    }
  }
  try {
    await work[end.role]()
  } finally {
    await channel.close()
  }
  return transfers
}

const entry: EntryPoint<EndArgument, Transfers> = { module: import.meta.url, name: 'runEnd' }

/**
 * Lets the ends of a connection work at the same time.
 *
 * @param threads of the ends; an end without one works in the calling thread
 * @returns how the transfers of each went
 */
export function runConnection(
  kind: KindName,
  ends: End<unknown>[],
  threads: readonly (IOThread | undefined)[] = []
): Promise<Transfers[]> {
  return Promise.all(
    ends.map((end, number) => {
      const argument = { kind, end, number, from: ends.length - 1 - number }
      const thread = threads[number]
      return thread ? thread.run(entry, argument) : runEnd(argument)
    })
  )
}
