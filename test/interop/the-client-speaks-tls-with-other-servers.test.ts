import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { formatUri } from '../../shared/protocol/uri.ts'
import type { TLSParameters } from '../../shared/protocol/uri-tls.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { TLS_PEER_SIZE, tlsPeers } from '../helpers/tls-peers.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const uriOf = (socket: string, tls: TLSParameters): string =>
  formatUri({ address: { path: socket }, exportName: '', tls })

/** Bytes that do not fit into one record of TLS, there and back. */
async function exchange(t: Test, uri: string): Promise<void> {
  const disk = await connect(uri)
  t.equal(disk.tls, true)
  t.equal(disk.size, TLS_PEER_SIZE)
  const data = crypto.randomBytes(300_000)
  await disk.write(4096, data)
  t.ok(data.equals(await disk.read(4096, data.length)))
  await disk.close()
}

for (const [name, peer] of Object.entries(tlsPeers)) {
  void t.test(`TLS - certificates, with ${name}`, requires(peer.needs, 'certtool'), async (t) => {
    const ca = TestCA.make(t).server().client()
    const socket = await peer.x509(t, ca.folder)
    await exchange(t, uriOf(socket, { certificates: ca.folder }))
    await exchange(t, uriOf(socket, { certificates: ca.folder, hostname: '127.0.0.1' }))
    await exchange(t, uriOf(socket, { certificates: ca.folder, hostname: 'a.example', verifyPeer: false }))

    const foreign = TestCA.make(t).client().folder
    const refused: [tls: TLSParameters, why: RegExp][] = [
      [{ certificates: foreign }, /the server's certificate was not signed by ca-cert\.pem$/],
      [{ certificates: ca.folder, hostname: 'a.example' }, /the server's certificate is for another: /],
      [{ certificates: ca.with(t, 'ca-cert.pem') }, /certificate|closed the connection/]
    ]
    for (const [tls, why] of refused) {
      const { kind, message } = await failureOf(connect(uriOf(socket, tls)))
      t.match(kind, /^(protocol|transport)$/)
      t.match(message, why)
    }
    const plain = await failureOf(connect(`nbd+unix:///?socket=${socket}`))
    t.equal(plain.kind, 'request')
    t.match(plain.message, /the server requires TLS: use nbds:\/\//)
  })

  void t.test(`TLS - a pre-shared key, with ${name}`, requires(peer.needs), async (t) => {
    const folder = tempDir(t)
    const keys = path.join(folder, 'keys.psk')
    const key = crypto.randomBytes(32).toString('hex')
    fs.writeFileSync(keys, `bob:${'00'.repeat(32)}\nalice:${key}\n`, { mode: 0o600 })
    const socket = await peer.psk(t, folder)
    await exchange(t, uriOf(socket, { username: 'alice', pskFile: keys }))

    const others = path.join(folder, 'others.psk')
    fs.writeFileSync(others, `alice:${'11'.repeat(32)}\ncarol:${key}\n`)
    for (const username of ['alice', 'carol']) {
      const { kind, message } = await failureOf(connect(uriOf(socket, { username, pskFile: others })))
      t.match(kind, /^(protocol|transport)$/, `${username}: ${message}`)
      t.match(message, /TLS handshake: the server (refuses|closed the connection, perhaps since .* key)/)
    }
    const none = await failureOf(connect(uriOf(socket, { certificates: folder })))
    t.equal(none.kind, 'config')
    t.match(none.message, /there is no '.*ca-cert\.pem'/)
  })

  void t.test(`TLS - required of ${name}, which has none`, requires(peer.needs, 'certtool'), async (t) => {
    const { folder } = TestCA.make(t)
    const tls = { certificates: TestCA.make(t).folder }
    const failure = await failureOf(connect(uriOf(await peer.plain(t), { certificates: folder })))
    t.equal(failure.kind, 'request')
    t.match(
      failure.message,
      /the server has no TLS: NBD_OPT_STARTTLS: the server does not (support|allow) this/
    )
    const byOption = await failureOf(connect(`nbd+unix:///?socket=${await peer.plain(t)}`, { tls }))
    t.match(byOption.message, /the server has no TLS/)
  })
}
