/** NBD_CMD_FLUSH: covers every write that was answered, on all connections of the export. */
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export async function cmdFlush(
  { exp, structured, writer }: Transmission,
  request: NBDRequest
): Promise<void> {
  await exp.node.flush()
  replyDone(writer, request, structured)
}
