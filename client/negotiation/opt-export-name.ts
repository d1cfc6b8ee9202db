/**
 * NBD_OPT_EXPORT_NAME: the old way into transmission, for servers without NBD_OPT_GO. It knows no error reply: a
 * server that does not want to closes the connection.
 */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import { NBD_OPT_EXPORT_NAME } from '../../shared/protocol/constants.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { decodeExportInfo, EXPORT_NAME_ANSWER_SIZE, EXPORT_NAME_ZEROES } from './messages.ts'
import type { ExportDescription } from './negotiated.ts'
import type { OptionExchange } from './option-exchange.ts'

/**
 * @param noZeroes whether it was negotiated that the padding is left out
 * @throws NBDError of kind `request` when the server closes the connection, `transport`
 */
export function* optExportName(
  exchange: OptionExchange,
  reader: WindowReader,
  name: string,
  noZeroes: boolean
): CoroutineFn<ExportDescription> {
  yield* exchange.send(NBD_OPT_EXPORT_NAME, Buffer.from(name, 'utf8'))
  const memory = Memory.allocate(EXPORT_NAME_ANSWER_SIZE)
  if (!(yield* reader.readAllEof(memory, 0, EXPORT_NAME_ANSWER_SIZE))) {
    throw new NBDError(
      'request',
      `the server closed the connection: it has no export '${name}', or refuses it`
    )
  }
  const info = decodeExportInfo(memory.buffer, 0)
  // Reserved: what they hold is not looked at.
  if (!noZeroes) yield* reader.discard(EXPORT_NAME_ZEROES)
  return { ...info, name: undefined, description: undefined, blockSizes: undefined }
}
