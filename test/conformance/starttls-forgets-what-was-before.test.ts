import t from 'tap'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_FLAG_SEND_DF,
  NBD_OPT_ABORT,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID
} from '../helpers/raw-constants.ts'
import { metaPayload, option } from '../helpers/raw-wire.ts'
import { needs, serveTls } from '../helpers/tls-server.ts'

void t.test('STARTTLS - what came in plain text', needs, async (t) => {
  const { server, client: options } = await serveTls(t, '--tls', 'on', '--log-level', 'warn')

  await t.test('R7 - structured replies must be asked for again', async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.negotiateStructured()
    t.ok((await client.go('', [], NBD_OPT_INFO)).flags & NBD_FLAG_SEND_DF)
    await client.setMeta('', ['base:allocation'])
    await client.startTls(options)
    t.notOk((await client.go('', [], NBD_OPT_INFO)).flags & NBD_FLAG_SEND_DF, 'they are forgotten')
    const meta = metaPayload('', ['base:allocation'])
    t.equal(await client.askOnce(NBD_OPT_SET_META_CONTEXT, meta), NBD_REP_ERR_INVALID, 'also for contexts')
    t.equal(await client.askOnce(NBD_OPT_STRUCTURED_REPLY), NBD_REP_ACK)
    t.ok((await client.go('', [], NBD_OPT_INFO)).flags & NBD_FLAG_SEND_DF)
    t.equal((await client.setMeta('', ['base:allocation'])).size, 1)
  })

  await t.test('R7 - and so must extended headers', async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.negotiateExtended()
    await client.startTls(options)
    t.notOk((await client.go('', [], NBD_OPT_INFO)).flags & NBD_FLAG_SEND_DF, 'they are forgotten')
    await client.negotiateStructured()
    await client.negotiateExtended()
    await client.go('')
    t.ok((await client.call({ type: 0, length: 1 })).chunks[0]?.requestOffset !== undefined)
  })

  await t.test('R8 - an option in the same segment ends the connection', async (t) => {
    for (const injected of [option(NBD_OPT_STRUCTURED_REPLY), option(NBD_OPT_LIST), Buffer.from([0])]) {
      const client = await RawClient.negotiate(t, server)
      client.send(Buffer.concat([option(NBD_OPT_STARTTLS), injected]))
      t.equal((await client.closed()).length, 0, `${injected.length} bytes`)
    }
    await server.process.output('stderr', /bytes in plain text behind NBD_OPT_STARTTLS/)
  })

  await t.test('R8 - an option instead of the handshake ends the connection unanswered', async (t) => {
    for (const number of [NBD_OPT_LIST, NBD_OPT_ABORT]) {
      const client = await RawClient.negotiate(t, server)
      t.equal(await client.askOnce(NBD_OPT_STARTTLS), NBD_REP_ACK)
      client.send(option(number))
      // At most an alert.
      t.ok((await client.closed()).length < 10, `option ${number}`)
    }
    await server.process.output('stderr', /TLS handshake: what the client sends is not TLS/)
  })

  await t.test('R8 - a handshake that comes with the option is not waited for', async (t) => {
    const client = await RawClient.negotiate(t, server)
    client.send(Buffer.concat([option(NBD_OPT_STARTTLS), Buffer.from([22, 3, 1, 0, 1, 1])]))
    t.equal((await client.closed()).length, 0)
  })

  await t.test('and the next client is served', async (t) => {
    const client = await RawClient.negotiate(t, server)
    await client.startTls(options)
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  })
})
