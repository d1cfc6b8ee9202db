import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { isRefusal } from '../helpers/command-line.ts'
import { Mqnbd, mqnbd } from '../helpers/mqnbd.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { within } from '../helpers/wait-for.ts'
import { websocketGateway } from '../helpers/websocket-gateway.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

async function exchange(t: Test, disk: NBDDisk): Promise<void> {
  const data = crypto.randomBytes(512 * 1024)
  const pieces = Array.from({ length: 16 }, (_, i) => data.subarray(i * 32768, (i + 1) * 32768))
  await Promise.all(pieces.map((piece, i) => disk.write(i * 32768, piece)))
  t.ok(data.equals(await disk.read(0, data.length)))
}

void t.test('websocket - carries NBD', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
  const port = await websocketGateway(t, server.socket!, '/nbd?a=b')
  const disk = await connect({ websocket: `ws://127.0.0.1:${port}/nbd?a=b`, exportName: 'disk' })
  t.equal(disk.tls, false)
  await exchange(t, disk)
  await disk.close()
  const wrong = await failureOf(connect({ websocket: `ws://127.0.0.1:${port}/other` }))
  t.equal(wrong.kind, 'transport')
  t.match(wrong.message, /^cannot open 'ws:.*\/other': WebSocket handshake: the server refuses: status 404$/)
})

void t.test('websocket - mqnbd copy takes it at both ends', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const url = `ws://127.0.0.1:${await websocketGateway(t, server.socket!, '/')}`
  const [image, copied] = ['image', 'copied'].map((name) => path.join(tempDir(t), name))
  fs.writeFileSync(image!, crypto.randomBytes(1 << 20))
  t.match(await mqnbd(t, 'copy', image!, url), { status: 0, stderr: '' })
  t.match(await mqnbd(t, 'copy', url, copied!), { status: 0, stderr: '' })
  t.ok(fs.readFileSync(image!).equals(fs.readFileSync(copied!)))
  const nowhere = await mqnbd(t, 'copy', 'ws://127.0.0.1:1', copied!)
  isRefusal(t, nowhere, 1, /cannot open 'ws:\/\/127\.0\.0\.1:1': connection refused/, 'nobody listens')
})

void t.test('websocket - with TLS below it', requires('certtool'), async (t) => {
  const ca = TestCA.make(t).server()
  const [cert, key] = ['server-cert.pem', 'server-key.pem'].map((file) =>
    fs.readFileSync(path.join(ca.folder, file))
  )
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const port = await websocketGateway(t, server.socket!, '/', { cert: cert!, key: key! })
  const websocket = `wss://localhost:${port}`
  const disk = await connect({ websocket }, { tls: { certificates: ca.folder } })
  t.equal(disk.tls, true)
  await exchange(t, disk)
  await disk.close()
  const foreign = TestCA.make(t).folder
  const refused = await failureOf(connect({ websocket }, { tls: { certificates: foreign } }))
  t.match(refused.message, /the server's certificate was not signed by ca-cert\.pem/)
  const unknown = await failureOf(connect({ websocket }, { tls: { hostname: 'localhost' } }))
  t.match(unknown.message, /was not signed by a CA that Node\.js trusts|was not signed by ca-cert/)
})

void t.test('websocket - a server that is silent, or none', async (t) => {
  const silent = net.createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => silent.once('listening', resolve))
  t.teardown(() => silent.close())
  const { port } = silent.address() as net.AddressInfo
  const open = connect({ websocket: `ws://127.0.0.1:${port}` }, { handshakeTimeoutMs: 300 })
  const { kind, message } = await within('an error', failureOf(open))
  t.equal(kind, 'transport')
  t.match(message, /the WebSocket was not there within 300 ms$/)
})

void t.test('websocket - URLs that cannot be', async (t) => {
  const cases: [url: string, why: RegExp][] = [
    ['http://localhost', /must begin with 'ws:/],
    ['nowhere', /must begin with 'ws:/],
    ['ws://a@h/', /neither user nor fragment/],
    ['ws://h/#x', /neither user nor fragment/]
  ]
  for (const [websocket, why] of cases) {
    const failure = await failureOf(connect({ websocket }))
    t.equal(failure.kind, 'config')
    t.match(failure.message, why)
  }
  const tls = await failureOf(connect({ websocket: 'ws://h' }, { tls: {} }))
  t.match(tls.message, /'ws:\/\/h' is without TLS: write 'wss:\/\/'/)
})
