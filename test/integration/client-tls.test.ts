import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK } from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { serveTls } from '../helpers/tls-server.ts'
import { within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { greeting, optionReply, scriptedServer, type Peer } from '../unit/client/helpers/scripted-server.ts'

const needs = requires('certtool')
const ack = optionReply(NBD_OPT_STARTTLS, NBD_REP_ACK)
/** What would be taken for an answer to the next option. */
const injected = optionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK)

void t.test('client, TLS - many requests at once, on TCP and a Unix socket', needs, async (t) => {
  for (const where of [[], ['-b', '127.0.0.1', '-p', '0']]) {
    const { server, ca } = await serveTls(t, ...where)
    t.match(server.uri, /^nbds/)
    const disk = await connect(server.uri, { tls: { certificates: ca.folder } })
    t.equal(disk.tls, true)
    t.equal(disk.packets, 'extended')
    const blocks = Array.from({ length: 64 }, () => crypto.randomBytes(4096))
    await Promise.all(blocks.map((block, i) => disk.write(i * 4096, block)))
    const read = await Promise.all(blocks.map((_, i) => disk.read(i * 4096, 4096)))
    t.ok(Buffer.concat(blocks).equals(Buffer.concat(read)))
    await disk.close()
    t.equal((await failureOf(disk.read(0, 1))).kind, 'transport')
  }
})

void t.test('client, TLS - what a program says comes before the URI', needs, async (t) => {
  const { server, ca } = await serveTls(t, '--tls', 'on')
  const plain = server.uri.replace('nbds', 'nbd')
  const unencrypted = await connect(plain)
  t.equal(unencrypted.tls, false, 'nbd is without TLS')
  await unencrypted.close()
  const disk = await connect(plain, { tls: { certificates: ca.folder } })
  t.equal(disk.tls, true, 'unless it is asked for')
  await disk.close()
  const secure = plain.replace('nbd', 'nbds')
  const wrong = `${secure}&tls-hostname=a.example&tls-certificates=${ca.folder}`
  t.match((await failureOf(connect(wrong))).message, /certificate is for another/)
  const right = await connect(wrong, { tls: { hostname: 'localhost', certificates: undefined } })
  await right.close()
})

void t.test('client, TLS - who is refused is told why', needs, async (t) => {
  const { server, ca } = await serveTls(t)
  const foreign = TestCA.make(t).client().folder
  const strangers = ca.with(t, 'ca-cert.pem')
  for (const file of ['client-cert.pem', 'client-key.pem'])
    fs.copyFileSync(path.join(foreign, file), path.join(strangers, file))
  const cases: [folder: string, why: RegExp][] = [
    [foreign, /TLS handshake: the server's certificate was not signed by ca-cert\.pem$/],
    [ca.with(t, 'ca-cert.pem'), /wants a certificate of ours|closed the connection/],
    [strangers, /TLS|closed the connection/]
  ]
  for (const [certificates, why] of cases) {
    const { kind, message } = await failureOf(connect(server.uri, { tls: { certificates } }))
    t.match(kind, /^(protocol|transport)$/)
    t.match(message, why)
  }
  const pskFile = path.join(strangers, 'keys.psk')
  fs.writeFileSync(pskFile, `alice:${'01'.repeat(32)}\n`)
  const byKey = await failureOf(connect(server.uri, { tls: { pskFile, username: 'alice' } }))
  t.match(byKey.message, /the server has a certificate, and not the pre-shared key|the server refuses/)
  const plain = await failureOf(connect(server.uri.replace('nbds', 'nbd')))
  t.equal(plain.kind, 'request')
  t.match(plain.message, /the server requires TLS: use nbds:\/\//)
  const none = await Mqnbd.serve(t, ['memory:1M'])
  const refused = await failureOf(connect(none.uri, { tls: { certificates: ca.folder } }))
  t.equal(refused.kind, 'request')
  t.match(refused.message, /the server has no TLS: NBD_OPT_STARTTLS: .* \(server: .*no credentials/)
})

void t.test('client, TLS - a server that does not speak it as it should', needs, async (t) => {
  const { folder: certificates } = TestCA.make(t).server()
  const cases: Record<string, [script: (peer: Peer) => Promise<unknown>, kind: RegExp, why: RegExp]> = {
    'an answer in plain text, in the same segment': [
      async (peer) => {
        peer.send(ack, injected)
        await peer.read(1)
      },
      /^protocol$/,
      /bytes in plain text behind the acknowledgement of NBD_OPT_STARTTLS/
    ],
    'an answer in plain text, a little later': [
      async (peer) => {
        peer.send(ack)
        // The first of the client's handshake.
        await peer.read(1)
        peer.send(injected)
        await peer.read(65536)
      },
      /^protocol$/,
      /what the server sends is not TLS/
    ],
    'the end': [async (peer) => void peer.send(ack), /^transport$/, /the server closed the connection/],
    'no fixed newstyle': [async () => undefined, /^request$/, /no TLS: it does not speak fixed newstyle/]
  }
  for (const [what, [script, kind, why]] of Object.entries(cases)) {
    const { uri } = await scriptedServer(t, async (peer) => {
      peer.send(greeting(what === 'no fixed newstyle' ? 0 : undefined))
      if (!(await peer.read(4))) return
      t.equal((await peer.option())?.option, NBD_OPT_STARTTLS, 'it comes first')
      await script(peer)
    })
    const failure = await within(what, failureOf(connect(uri, { tls: { certificates } })))
    t.match(failure.kind, kind, what)
    t.match(failure.message, why, what)
  }
})

void t.test('client, TLS - a server that is silent', needs, async (t) => {
  const { folder: certificates } = TestCA.make(t).server()
  for (const answers of [[], [ack]]) {
    const { uri } = await scriptedServer(t, async (peer) => {
      peer.send(greeting())
      await peer.read(4)
      await peer.option()
      peer.send(...answers)
      await peer.read(65536)
    })
    const opened = connect(uri, { tls: { certificates }, handshakeTimeoutMs: 300 })
    const { kind, message } = await within('an error', failureOf(opened))
    t.equal(kind, 'transport')
    t.match(message, /the handshake did not end within 300 ms/)
  }
})

void t.test('info - says that TLS is spoken', needs, async (t) => {
  const { server, ca } = await serveTls(t)
  const { status, stdout, stderr } = await mqnbd(t, 'info', `${server.uri}&tls-certificates=${ca.folder}`)
  t.equal(stderr, '')
  t.equal(status, 0)
  t.match(stdout, /^protocol: newstyle-fixed with TLS, using extended packets\n/)
  const without = await mqnbd(t, 'info', `${server.uri}&tls-certificates=${tempDir(t)}`)
  t.equal(without.status, 1)
  t.match(without.stderr, /^mqnbd: cannot open '[^']*': there is no '.*ca-cert\.pem': [^\n]*\n$/)
})
