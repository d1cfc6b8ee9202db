import t from 'tap'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_OPT_LIST, NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID } from '../helpers/raw-constants.ts'
import { MiB } from '../helpers/raw-wire.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { needs, clientOptions, serveTls } from '../helpers/tls-server.ts'

for (const [mode, args] of [
  ['FORCEDTLS', []],
  ['SELECTIVETLS', ['--tls', 'on']]
] as const) {
  void t.test(mode, needs, async (t) => {
    const { server, client: options } = await serveTls(t, ...args)

    await t.test('R12 - STARTTLS with a payload is INVALID, and may be tried again without', async (t) => {
      const client = await RawClient.negotiate(t, server)
      for (const length of [1, 16, 65537, MiB]) {
        const type = await client.askOnce(NBD_OPT_STARTTLS, Buffer.alloc(length))
        t.equal(type, NBD_REP_ERR_INVALID, `${length} bytes`)
      }
      await client.startTls(options)
      t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
    })

    await t.test('R12 - a second STARTTLS is INVALID, and TLS goes on', async (t) => {
      const client = await RawClient.negotiate(t, server)
      await client.startTls(options)
      for (const length of [0, 5]) {
        t.equal(await client.askOnce(NBD_OPT_STARTTLS, Buffer.alloc(length)), NBD_REP_ERR_INVALID)
      }
      t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
    })

    await t.test('R13 - a client whose certificate is not accepted is disconnected', async (t) => {
      const stranger = clientOptions(TestCA.make(t).client().folder)
      for (const wrong of [{ ca: options.ca }, { ...stranger, ca: options.ca }]) {
        const client = await RawClient.negotiate(t, server)
        await client.startTls(wrong)
        await t.rejects(client.ask(NBD_OPT_LIST), /closed the connection|EPIPE/)
      }
      await server.process.output('stderr', /TLS handshake: the client has no certificate/)
      await server.process.output(
        'stderr',
        /TLS handshake: the client's certificate was not signed by ca-cert/
      )
    })

    await t.test('R14 - TLS 1.2 and 1.3, and nothing older', async (t) => {
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        const client = await RawClient.negotiate(t, server)
        await client.startTls({ ...options, maxVersion })
        t.equal((await client.ask(NBD_OPT_LIST)).length, 2, maxVersion)
      }
      const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
      const client = await RawClient.negotiate(t, server)
      await t.rejects(client.startTls({ ...options, ...old }), /alert protocol version/)
      await server.process.output('stderr', /the client offers no version of TLS from 1.2 on/)
    })
  })
}

void t.test('a server that verifies nobody takes clients without certificate', needs, async (t) => {
  const { server, client: options } = await serveTls(t, '--no-tls-verify-peer')
  const client = await RawClient.negotiate(t, server)
  await client.startTls({ ca: options.ca })
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
})
