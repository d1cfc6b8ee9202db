/** Sending bytes that may lie anywhere: what a handshake consists of. */
import type { CoroutineFn } from '../coroutine/coroutine.ts'
import type { QIOChannel } from './channel.ts'
import { giveMemory, takeMemory } from './memory-pool.ts'

/**
 * Sends all of them, waiting for room.
 *
 * @param bytes copied; the caller's again at once
 * @throws NBDError of kind `transport`
 */
export function* writeBytes(channel: QIOChannel, bytes: Uint8Array): CoroutineFn {
  const memory = takeMemory(bytes.length)
  try {
    memory.buffer.set(bytes)
    yield* channel.writevAll([{ memory, start: 0, end: bytes.length }])
  } finally {
    giveMemory(memory)
  }
}
