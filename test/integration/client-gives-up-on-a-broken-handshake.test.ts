import t from 'tap'
import { connect } from '../../client/index.ts'
import {
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER
} from '../helpers/raw-constants.ts'
import { u16, u32 } from '../helpers/raw-wire.ts'
import { within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { context, contexts, go, reply, serverWith } from '../unit/client/helpers/handshakes.ts'
import {
  greeting,
  infoBlockSize,
  infoExport,
  infoText,
  optionReply,
  type Handshake
} from '../unit/client/helpers/scripted-server.ts'

const broken: Record<string, { script: Handshake; why: RegExp }> = {
  'a web server': {
    script: { greeting: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') },
    why: /no NBD server: it starts with 0x485454502f312e31/
  },
  'a wrong second magic': {
    script: { greeting: greeting(3, 0x49484156454f5055n) },
    why: /wrong handshake magic 0x49484156454f5055/
  },
  'a wrong option reply magic': {
    script: { answers: reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, undefined, { magic: 0x3e889045565a8n }) },
    why: /wrong option reply magic 0x0003e889045565a8/
  },
  'a reply to another option': {
    script: { answers: { [NBD_OPT_STRUCTURED_REPLY]: [optionReply(NBD_OPT_INFO, NBD_REP_ACK)] } },
    why: /a reply to NBD_OPT_INFO, not to NBD_OPT_STRUCTURED_REPLY/
  },
  'an option reply of 4 GiB': {
    script: { answers: reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, undefined, { length: 0xffffffff }) },
    why: /NBD_REP_ACK announces 4294967295 bytes/
  },
  'an error text that is too long': {
    script: { answers: reply(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, undefined, { length: 8197 }) },
    why: /NBD_REP_ERR_UNKNOWN announces 8197 bytes/
  },
  'a reply that does not belong to STRUCTURED_REPLY': {
    script: { answers: reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_SERVER, u32(0)) },
    why: /NBD_OPT_STRUCTURED_REPLY was answered by NBD_REP_SERVER/
  },
  'a reply that does not belong to GO': {
    script: { answers: reply(NBD_OPT_GO, NBD_REP_SERVER, u32(0)) },
    why: /NBD_OPT_GO was answered by NBD_REP_SERVER/
  },
  'a reply type that nobody knows': {
    script: { answers: reply(NBD_OPT_GO, 99) },
    why: /NBD_OPT_GO was answered by reply 99/
  },
  'GO acknowledged without the export': { script: { answers: go() }, why: /without NBD_INFO_EXPORT/ },
  'information without a type': { script: { answers: go(Buffer.alloc(1)) }, why: /1 bytes of payload/ },
  'a short export': {
    script: { answers: go(infoExport().subarray(0, -1)) },
    why: /NBD_INFO_EXPORT: a payload of 11 bytes/
  },
  'a long export': {
    script: { answers: go(Buffer.concat([infoExport(), u16(0)])) },
    why: /NBD_INFO_EXPORT: a payload of 14 bytes/
  },
  'short block sizes': {
    script: { answers: go(infoExport(), infoBlockSize(1, 1, 1).subarray(0, -1)) },
    why: /NBD_INFO_BLOCK_SIZE: a payload of 13 bytes/
  },
  'a minimum block size of 0': {
    script: { answers: go(infoExport(), infoBlockSize(0, 4096, 65536)) },
    why: /minimum 0 is no power of 2/
  },
  'a minimum block size of 3': {
    script: { answers: go(infoExport(), infoBlockSize(3, 4096, 65536)) },
    why: /minimum 3 is no power of 2/
  },
  'a minimum block size of 128 KiB': {
    script: { answers: go(infoExport(), infoBlockSize(131072, 131072, 131072)) },
    why: /minimum 131072 is no power of 2 up to 65536/
  },
  'a minimum block size of 2^31': {
    script: { answers: go(infoExport(), infoBlockSize(0x80000000, 0x80000000, 0xffffffff)) },
    why: /minimum 2147483648 is no power of 2 up to 65536/
  },
  'a preferred block size of 3000': {
    script: { answers: go(infoExport(), infoBlockSize(1, 3000, 65536)) },
    why: /preferred size 3000 is no power of 2/
  },
  'a preferred block size below the minimum': {
    script: { answers: go(infoExport(), infoBlockSize(4096, 512, 65536)) },
    why: /preferred size 512 .* from the minimum 4096 on/
  },
  'a maximum below the minimum': {
    script: { answers: go(infoExport(), infoBlockSize(4096, 4096, 4095)) },
    why: /maximum 4095 is less than the minimum 4096/
  },
  'a name that is not UTF-8': {
    script: { answers: go(infoExport(), infoText(NBD_INFO_NAME, Buffer.from([0xff]))) },
    why: /NBD_INFO_NAME: the text is not UTF-8/
  },
  'a description with a NUL': {
    script: { answers: go(infoExport(), infoText(NBD_INFO_DESCRIPTION, 'a\0b')) },
    why: /NBD_INFO_DESCRIPTION: the text contains a NUL/
  },
  'a description of 4097 bytes': {
    script: { answers: go(infoExport(), infoText(NBD_INFO_DESCRIPTION, 'x'.repeat(4097))) },
    why: /NBD_INFO_DESCRIPTION: the text is 4097 bytes long/
  },
  'information without end': {
    script: { answers: go(infoExport(), ...Array.from({ length: 1024 }, () => u16(99))) },
    why: /more than 1024 replies to NBD_OPT_GO/
  },
  'a context that was not asked for': {
    script: { answers: contexts(context(1, 'qemu:dirty-bitmap:x')) },
    why: /chose the context 'qemu:dirty-bitmap:x', which was not asked for/
  },
  'a context twice': {
    script: { answers: contexts(context(1, 'base:allocation'), context(2, 'base:allocation')) },
    why: /chose the context 'base:allocation' twice/
  },
  'a context without a name': {
    script: { answers: contexts(optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, u16(0))) },
    why: /NBD_REP_META_CONTEXT: payload of 2 bytes is too short/
  }
}

for (const [name, { script, why }] of Object.entries(broken)) {
  void t.test(`client - gives up on ${name}`, async (t) => {
    const uri = await serverWith(t, script)
    const { kind, message } = await within('an error', failureOf(connect(uri)))
    t.equal(kind, 'protocol')
    t.match(message, why)
    t.match(message, `cannot open '${uri}': `)
  })
}
