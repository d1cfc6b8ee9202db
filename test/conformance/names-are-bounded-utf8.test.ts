import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { infoPayload, metaPayload } from '../helpers/raw-wire.ts'

const badStrings = {
  'NUL at the end': Buffer.from('disk\0'),
  'NUL in the middle': Buffer.from('di\0sk'),
  '4097 bytes': Buffer.alloc(4097, 'x'),
  'a lone continuation byte': Buffer.from([0x80]),
  'a cut sequence': Buffer.from([0xc3]),
  'an overlong sequence': Buffer.from([0xc0, 0xaf]),
  'a surrogate': Buffer.from([0xed, 0xa0, 0x80]),
  'a code point beyond Unicode': Buffer.from([0xf4, 0x90, 0x80, 0x80])
}

const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])

for (const [what, bytes] of Object.entries(badStrings)) {
  void t.test(`R1 - ${what} in a name or query is invalid, and negotiation goes on`, async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.negotiateStructured()
    for (const number of [NBD_OPT_INFO, NBD_OPT_GO]) {
      t.equal(await client.askOnce(number, infoPayload(bytes)), NBD_REP_ERR_INVALID, `option ${number}`)
    }
    for (const number of [NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
      t.equal(await client.askOnce(number, metaPayload(bytes)), NBD_REP_ERR_INVALID, `name, option ${number}`)
      const query = metaPayload('disk', ['base:allocation', bytes])
      t.equal(await client.askOnce(number, query), NBD_REP_ERR_INVALID, `query, option ${number}`)
    }
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  })
}

void t.test('R1 - a name of 4096 bytes is legal, and merely unknown', async (t) => {
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(NBD_OPT_GO, infoPayload('é'.repeat(2048))), NBD_REP_ERR_UNKNOWN)
})

void t.test('R1 - a name of 4096 bytes, beyond ASCII and with odd characters, can be served', async (t) => {
  const name = ' \n/?#é\u{1f4be}\ufeff' + 'x'.repeat(4096 - 14)
  const served = await Mqnbd.serve(t, ['memory:1M', '-x', name])
  const client = await RawClient.negotiate(t, served)
  t.equal(Buffer.byteLength(name), 4096)
  t.equal((await client.go(name)).size, 1n << 20n)
})

void t.test('R1 - the text of every error is UTF-8 of at most 4096 bytes', async (t) => {
  const client = await RawClient.negotiate(t, server)
  const [reply] = await client.ask(NBD_OPT_GO, infoPayload('é'.repeat(2048)))
  t.ok(reply!.payload.length > 0 && reply!.payload.length <= 4096)
  t.doesNotThrow(() => new TextDecoder('utf-8', { fatal: true }).decode(reply!.payload))
})
