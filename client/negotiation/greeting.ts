/**
 * The first bytes of a server, which tell the style of its handshake, and our answer to them.
 *
 * @see doc/proto.md "Oldstyle negotiation", "Newstyle negotiation"
 */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { protocolError } from '../../shared/errors/nbd-error.ts'
import { writeBytes } from '../../shared/io/write-bytes.ts'
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES
} from '../../shared/protocol/constants.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import {
  decodeMagics,
  decodeOldstyle,
  encodeClientFlags,
  HANDSHAKE_FLAGS_SIZE,
  MAGICS_SIZE,
  OLDSTYLE_SIZE,
  OLDSTYLE_ZEROES,
  type ExportInfo
} from './messages.ts'
import type { Negotiating } from './negotiating.ts'

export type Greeting =
  | { style: 'oldstyle'; info: ExportInfo }
  | {
      style: 'newstyle' | 'newstyle-fixed'
      /** It was negotiated that the padding of NBD_OPT_EXPORT_NAME's answer is left out. */
      noZeroes: boolean
    }

/**
 * Receives the greeting. A server of the newstyle has then been answered; one of the oldstyle, which does not listen, is
 * in transmission.
 *
 * @throws NBDError of kind `protocol`, `transport`
 */
export function* greet({ channel, reader }: Negotiating): CoroutineFn<Greeting> {
  const memory = Memory.allocate(MAGICS_SIZE)
  const { buffer } = memory
  yield* reader.readAll(memory, 0, MAGICS_SIZE)
  const style = decodeMagics(buffer)
  if (typeof style !== 'string') throw protocolError(style.problem)
  if (style === 'oldstyle') {
    yield* reader.readAll(memory, 0, OLDSTYLE_SIZE)
    // Reserved: what they hold is not looked at.
    yield* reader.discard(OLDSTYLE_ZEROES)
    return { style, info: decodeOldstyle(buffer) }
  }
  yield* reader.readAll(memory, 0, HANDSHAKE_FLAGS_SIZE)
  const flags = buffer.readUInt16BE(0)
  const fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0
  const noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0
  // A server must disconnect at a flag that it has not offered itself.
  const answer = (fixed ? NBD_FLAG_C_FIXED_NEWSTYLE : 0) | (noZeroes ? NBD_FLAG_C_NO_ZEROES : 0)
  yield* writeBytes(channel, encodeClientFlags(answer))
  return { style: fixed ? 'newstyle-fixed' : style, noZeroes }
}
