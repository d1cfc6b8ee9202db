/** Bytes in and out of a channel, for tests that are not coroutines themselves. */
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import type { IOVec, QIOChannel } from '../../../../shared/io/channel.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { within } from '../../../helpers/wait-for.ts'

/** What a test expects in a place, every byte depending on where it is. */
export const pattern = (length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: Math.ceil(length / 4) }, (_, i) => i).buffer).subarray(0, length)

export function memoryOf(bytes: Uint8Array): Memory {
  const memory = Memory.allocate(bytes.length)
  memory.buffer.set(bytes)
  return memory
}

/** All of it, or so much of its beginning. */
export const whole = (memory: Memory, length = memory.length): IOVec[] => [{ memory, start: 0, end: length }]

/** Runs a coroutine, which must end in good time. */
export const run = <T>(entry: () => CoroutineFn<T>): Promise<T> =>
  within('a coroutine', Coroutine.start(entry))

/** @param bytes text is taken for latin1 */
export function send(channel: QIOChannel, bytes: Buffer | string): Promise<void> {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes
  return run(() => channel.writevAll(whole(memoryOf(buffer), buffer.length)))
}

/** The next bytes. */
export async function receive(channel: QIOChannel, length: number): Promise<Buffer> {
  const memory = Memory.allocate(length)
  await run(() => channel.readvAll(whole(memory, length)))
  return memory.buffer.subarray(0, length)
}

/** Rounds of the loop: node:net has read by then what the kernel had. */
export async function rounds(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}
