import t from 'tap'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_PEEK_EXPORT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP
} from '../helpers/raw-constants.ts'
import { infoPayload, metaPayload, MiB, option } from '../helpers/raw-wire.ts'
import { needs, serveTls } from '../helpers/tls-server.ts'

void t.test('R9 - FORCEDTLS', needs, async (t) => {
  const { server, client: options } = await serveTls(t)

  await t.test('every option but STARTTLS and ABORT is answered by TLS_REQD, whatever it says', async (t) => {
    const client = await RawClient.negotiate(t, server)
    const asked: [number, Buffer][] = [
      [NBD_OPT_LIST, Buffer.alloc(0)],
      [NBD_OPT_LIST, Buffer.alloc(7)],
      [NBD_OPT_INFO, infoPayload('')],
      [NBD_OPT_GO, infoPayload('')],
      [NBD_OPT_GO, infoPayload('no such export')],
      [NBD_OPT_GO, Buffer.from('rubbish')],
      [NBD_OPT_STRUCTURED_REPLY, Buffer.alloc(0)],
      [NBD_OPT_LIST_META_CONTEXT, metaPayload('')],
      [NBD_OPT_SET_META_CONTEXT, metaPayload('', ['base:allocation'])],
      [NBD_OPT_EXTENDED_HEADERS, Buffer.alloc(0)],
      [NBD_OPT_PEEK_EXPORT, Buffer.alloc(0)],
      [99, option(NBD_OPT_LIST)],
      [99, Buffer.alloc(MiB)]
    ]
    for (const [number, payload] of asked) {
      const what = `option ${number} with ${payload.length} bytes`
      t.equal(await client.askOnce(number, payload), NBD_REP_ERR_TLS_REQD, what)
    }
    await client.startTls(options)
    t.equal((await client.go('', [], NBD_OPT_INFO)).size, 1048576n)
  })

  await t.test('ABORT is acknowledged', async (t) => {
    const client = await RawClient.negotiate(t, server)
    t.equal(await client.askOnce(NBD_OPT_ABORT), NBD_REP_ACK)
    t.equal((await client.closed()).length, 0)
  })

  await t.test('EXPORT_NAME, which cannot be answered by an error, ends the connection', async (t) => {
    const client = await RawClient.negotiate(t, server)
    client.send(option(NBD_OPT_EXPORT_NAME))
    t.equal((await client.closed()).length, 0)
  })

  await t.test('a client without fixed newstyle cannot come in', async (t) => {
    for (const number of [NBD_OPT_EXPORT_NAME, NBD_OPT_STARTTLS]) {
      const client = await RawClient.connect(t, server)
      await client.handshake(0)
      client.send(option(number))
      t.equal((await client.closed()).length, 0, `option ${number}`)
    }
  })

  await t.test('over TLS nothing is answered by TLS_REQD any more', async (t) => {
    const client = await RawClient.connect(t, server)
    await client.handshake(NBD_FLAG_C_FIXED_NEWSTYLE)
    await client.startTls(options)
    const asked: [number, Buffer, number][] = [
      [NBD_OPT_STARTTLS, Buffer.alloc(0), NBD_REP_ERR_INVALID],
      [NBD_OPT_LIST, Buffer.alloc(7), NBD_REP_ERR_INVALID],
      [NBD_OPT_GO, infoPayload('no such export'), NBD_REP_ERR_UNKNOWN],
      [NBD_OPT_GO, Buffer.from('rubbish'), NBD_REP_ERR_INVALID],
      [NBD_OPT_EXTENDED_HEADERS, Buffer.alloc(1), NBD_REP_ERR_INVALID],
      [99, Buffer.alloc(MiB), NBD_REP_ERR_UNSUP],
      [NBD_OPT_STRUCTURED_REPLY, Buffer.alloc(0), NBD_REP_ACK],
      [NBD_OPT_ABORT, Buffer.alloc(0), NBD_REP_ACK]
    ]
    for (const [number, payload, answer] of asked) {
      t.equal(await client.askOnce(number, payload), answer, `option ${number} with ${payload.length} bytes`)
    }
    t.equal((await client.closed()).length, 0)
  })
})
