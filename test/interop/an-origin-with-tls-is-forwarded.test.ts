import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { randomLoad } from '../helpers/random-load.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { TLS_PEER_SIZE, tlsPeers } from '../helpers/tls-peers.ts'

const DEPTH = 8

/** Servers on Unix sockets that demand TLS. */
const origins: Record<string, { needs: string[]; serve: (t: Test, folder: string) => Promise<string> }> = {
  mqnbd: {
    needs: [],
    serve: async (t, folder) =>
      (await Mqnbd.serve(t, [emptyImage(t, TLS_PEER_SIZE), '-f', 'raw', '--tls-creds', folder])).socket!
  },
  ...Object.fromEntries(
    Object.entries(tlsPeers).map(([name, { needs, x509 }]) => [name, { needs: [needs], serve: x509 }])
  )
}

/** Two connections, as the two threads of an export have them. */
async function exchange(t: Test, uri: string): Promise<void> {
  const disks = [await connect(uri), await connect(uri)]
  t.equal(disks[0]!.size, TLS_PEER_SIZE)
  const shadow = Buffer.alloc(TLS_PEER_SIZE)
  await randomLoad(disks, shadow, DEPTH, (steps) => steps >= 100)
  t.ok((await disks[1]!.read(0, shadow.length)).equals(shadow))
  await disks[0]!.flush()
  await Promise.all(disks.map((disk) => disk.close()))
}

const THREADS = ['--object', 'iothread,id=io0', '--object', 'iothread,id=io1']
const EXPORT = ['--export', 'nbd,id=e,node-name=far,name=,writable=on,iothread.0=io0,iothread.1=io1']

const forwarding = (socket: string, creds: string): string[] => [
  ...THREADS,
  '--object',
  `${creds},id=tls0`,
  '--blockdev',
  `nbd,node-name=far,server.type=unix,server.path=${socket},tls-creds=tls0`,
  ...EXPORT
]

for (const [name, { needs, serve }] of Object.entries(origins)) {
  void t.test(`forwarding - to ${name}, with certificates`, requires('certtool', ...needs), async (t) => {
    const ca = TestCA.make(t).server().client()
    const socket = await serve(t, ca.folder)
    const creds = `tls-creds-x509,dir=${ca.folder},endpoint=client`
    const server = await Mqnbd.serve(t, forwarding(socket, creds))
    await exchange(t, server.uri)
    t.match(await server.process.end(), { status: 0 }, server.process.stderr)
    t.equal(server.process.stderr, '')
  })
}

for (const [name, { needs, psk }] of Object.entries(tlsPeers)) {
  void t.test(`forwarding - to ${name}, with a pre-shared key`, requires(needs), async (t) => {
    const folder = tempDir(t)
    const pskFile = path.join(folder, 'keys.psk')
    fs.writeFileSync(pskFile, `qemu:${crypto.randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
    const socket = await psk(t, folder)
    const server = await Mqnbd.serve(t, forwarding(socket, `tls-creds-psk,dir=${folder}`))
    await exchange(t, server.uri)
    t.match(await server.process.end(), { status: 0 }, server.process.stderr)
  })
}
