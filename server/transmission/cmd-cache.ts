/** NBD_CMD_CACHE: a hint that this range will be read soon. */
import type { NBDRequest } from '../../shared/protocol/messages/request.ts'
import { replyDone } from './reply.ts'
import type { Transmission } from './transmission.ts'

export async function cmdCache(
  { exp, structured, writer }: Transmission,
  request: NBDRequest
): Promise<void> {
  if (request.length > 0) await exp.node.prefetch(request.offset, request.length)
  replyDone(writer, request, structured)
}
