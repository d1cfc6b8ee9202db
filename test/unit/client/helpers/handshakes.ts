/** Handshakes of servers that a test wants to see, put together from their messages. */
import type { Test } from 'tap'
import {
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_ACK,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT
} from '../../../helpers/raw-constants.ts'
import { u32 } from '../../../helpers/raw-wire.ts'
import { handshake, optionReply, scriptedServer, type Handshake } from './scripted-server.ts'

/** Serves this handshake and then nothing; the connection ends when the client's does. */
export const serverWith = async (t: Test, script: Handshake): Promise<string> => {
  const { uri } = await scriptedServer(t, async (peer) => {
    if (await handshake(peer, script)) while (await peer.request());
  })
  return uri
}

/** One reply to an option. */
export const reply = (
  option: number,
  type: number,
  payload?: Buffer,
  fields?: { magic?: bigint; length?: number }
) => ({
  [option]: [optionReply(option, type, payload, fields)]
})
/** GO's replies: these pieces of information and the acknowledgement. */
export const go = (...infos: Buffer[]): Record<number, Buffer[]> => ({
  [NBD_OPT_GO]: [
    ...infos.map((info) => optionReply(NBD_OPT_GO, NBD_REP_INFO, info)),
    optionReply(NBD_OPT_GO, NBD_REP_ACK)
  ]
})
export const context = (id: number, name: string): Buffer =>
  optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, Buffer.concat([u32(id), Buffer.from(name)]))
/** SET_META_CONTEXT's replies: these and the acknowledgement. */
export const contexts = (...replies: Buffer[]): Record<number, Buffer[]> => ({
  [NBD_OPT_SET_META_CONTEXT]: [...replies, optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK)]
})
