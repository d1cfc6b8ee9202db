/** NBD_CMD_READ. */
import { coAwait } from '../../shared/coroutine/aio-co.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { BlockMap } from '../../shared/block/block-node.ts'
import { giveMemory, takeMemory } from '../../shared/io/memory-pool.ts'
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { NBD_MODE_SIMPLE } from '../../shared/protocol/nbd-mode.ts'
import type { Memory } from '../../shared/syscall/memory.ts'
import { CachedStretch } from './cached-stretch.ts'
import { encodeReadHeader, readHeaderSize, replyDone, replyHole, replyReadFromFile } from './reply.ts'
import { MAX_RESERVE } from './reply-writer.ts'
import type { Transmission } from './transmission.ts'

/** From here on the fixed cost of sendfile is less than that of copying the data, and asking for holes costs little. */
const LARGE = 32 * 1024

/** Bytes that are copied out of the page cache before anybody else has a turn. */
const MAX_AT_ONCE = 1024 * 1024

const map: BlockMap = { fd: -1, offset: 0, resident: false }
const cached = new CachedStretch()

/**
 * Replies at once if the data is at hand, without a coroutine.
 *
 * @param request is reused when this returns: whoever needs it longer has copied it
 * @returns the rest of the command, when the data has to be waited for
 */
export function cmdRead(transmission: Transmission, request: NBDRequest): undefined | CoroutineFn {
  const { exp, mode, writer } = transmission
  const { offset, length } = request
  if (length === 0) {
    replyDone(writer, request, mode)
    return undefined
  }
  const headerSize = readHeaderSize(mode)
  const mapped = length >= LARGE && exp.node.map(offset, length, map)
  const there = mapped && (map.resident || cached.has(map.fd, map.offset, length))
  const tellsHoles = length >= LARGE && mode !== NBD_MODE_SIMPLE
  // Zeroes of holes may be cached, too.
  if (there && tellsHoles && exp.node.isHoleNow?.(offset, length)) {
    replyHole(writer, request, mode)
    return undefined
  }
  const mayBeHole = tellsHoles && !there
  // Reading a hole of a file would bring zeroes to the cache.
  const isRead = length <= MAX_AT_ONCE && !(mapped && mayBeHole)
  if (there && writer.takesFiles) {
    if (replyReadFromFile(writer, request, mode, map)) return undefined
  } else if (isRead && headerSize + length > MAX_RESERVE) {
    const memory = takeMemory(length)
    if (exp.node.preadNowait(memory.address, offset, length)) {
      replyFrom(memory, transmission, request, headerSize)
      return undefined
    }
    giveMemory(memory)
  } else if (isRead) {
    const { memory, used } = writer.reserve(headerSize + length)
    if (exp.node.preadNowait(memory.address + used + headerSize, offset, length)) {
      encodeReadHeader(memory.buffer, used, request, mode)
      writer.commit(headerSize + length)
      return undefined
    }
  }
  return readLater(transmission, { ...request }, headerSize, mayBeHole)
}

/** @param mayBeHole it is to be told if it is one */
function* readLater(
  transmission: Transmission,
  request: NBDRequest,
  headerSize: number,
  mayBeHole: boolean
): CoroutineFn {
  const { exp, mode, writer } = transmission
  const { offset, length } = request
  const { node } = exp
  if (mayBeHole && node.isHole && (yield* coAwait(node.isHole(offset, length)))) {
    replyHole(writer, request, mode)
    return
  }
  // Without the header: lengths are powers of two mostly, and so is what the pool gives.
  const memory = takeMemory(length)
  try {
    yield* coAwait(node.pread(memory, 0, offset, length))
  } catch (error) {
    giveMemory(memory)
    throw error
  }
  replyFrom(memory, transmission, request, headerSize)
}

/** @param memory of the pool, with the data */
function replyFrom(
  memory: Memory,
  { writer, mode }: Transmission,
  request: NBDRequest,
  headerSize: number
): void {
  const header = writer.reserve(headerSize)
  encodeReadHeader(header.memory.buffer, header.used, request, mode)
  writer.commit(headerSize)
  writer.pushMemory(memory, 0, request.length)
}
