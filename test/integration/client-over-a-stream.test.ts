import * as crypto from 'node:crypto'
import * as http from 'node:http'
import * as net from 'node:net'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { requires } from '../helpers/requires.ts'
import { serveTls } from '../helpers/tls-server.ts'
import { within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

async function connected(socket: net.Socket): Promise<net.Socket> {
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  return socket
}

/** Sixteen requests at a time, of half a MiB together. */
async function exchange(t: Test, disk: NBDDisk): Promise<void> {
  const data = crypto.randomBytes(512 * 1024)
  const pieces = Array.from({ length: 16 }, (_, i) => data.subarray(i * 32768, (i + 1) * 32768))
  await Promise.all(pieces.map((piece, i) => disk.write(i * 32768, piece)))
  t.ok(data.equals(await disk.read(0, data.length)))
}

void t.test('stream - a socket that a program has connected itself', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
  const stream = await connected(net.connect(server.socket!))
  const disk = await connect({ stream, exportName: 'disk' })
  t.equal(disk.exportName, 'disk')
  await exchange(t, disk)
  await disk.close()
  t.ok(stream.destroyed, 'it is ended with the disk')
})

void t.test('stream - where the greeting has arrived before', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const stream = await connected(net.connect(server.socket!))
  await new Promise((resolve) => stream.once('readable', resolve))
  const disk = await connect({ stream })
  await exchange(t, disk)
  await disk.close()
})

void t.test('stream - of an HTTP Upgrade', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const gateway = http.createServer().on('upgrade', (_, client) => {
    const upstream = net.connect(server.socket!)
    client.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: nbd\r\nConnection: Upgrade\r\n\r\n')
    client.on('error', () => upstream.destroy()).pipe(upstream)
    upstream.on('error', () => client.destroy()).pipe(client)
  })
  await new Promise<void>((resolve) => gateway.listen(0, '127.0.0.1', resolve))
  t.teardown(() => gateway.close())
  const { port } = gateway.address() as net.AddressInfo
  const stream = await new Promise<net.Socket>((resolve, reject) => {
    const headers = { Connection: 'Upgrade', Upgrade: 'nbd' }
    const request = http.request({ host: '127.0.0.1', port, headers })
    request.once('error', reject)
    request.once('upgrade', (_, socket: net.Socket, head: Buffer) => {
      if (head.length > 0) socket.unshift(head)
      resolve(socket)
    })
    request.end()
  })
  const disk = await connect({ stream })
  await exchange(t, disk)
  await disk.close()
})

void t.test('stream - with TLS in it', requires('certtool'), async (t) => {
  const { server, ca } = await serveTls(t)
  const stream = await connected(net.connect(server.socket!))
  const disk = await connect({ stream }, { tls: { certificates: ca.folder } })
  t.equal(disk.tls, true)
  await exchange(t, disk)
  await disk.close()
  const other = await connected(net.connect(server.socket!))
  const tls = { certificates: ca.folder, hostname: 'a.example' }
  t.match((await failureOf(connect({ stream: other }, { tls }))).message, /certificate is for another/)
  t.ok(other.destroyed)
})

void t.test('stream - one that breaks off', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  for (const error of [undefined, new Error('the tunnel has collapsed')]) {
    const stream = await connected(net.connect(server.socket!))
    const disk = await connect({ stream })
    const reading = failureOf(disk.read(0, 1024 * 1024))
    stream.destroy(error)
    const { kind, message } = await within('an error', reading)
    t.equal(kind, 'transport')
    if (error) t.match(message, /the tunnel has collapsed/)
    t.equal(disk.state, 'DEAD')
    await disk.close()
  }
})

void t.test('stream - what cannot be one', async (t) => {
  const ended = new PassThrough()
  ended.destroy()
  const text = new PassThrough({ encoding: 'utf8' })
  for (const stream of [new PassThrough({ objectMode: true }), text, ended])
    t.equal((await failureOf(connect({ stream }))).kind, 'config')
})

void t.test('stream - a peer that is no server', async (t) => {
  // What is written comes back.
  const stream = new PassThrough()
  stream.write('HTTP/1.1 400 Bad Request\r\n\r\n')
  const { kind, message } = await failureOf(connect({ stream }))
  t.equal(kind, 'protocol')
  t.match(message, /^cannot open 'a stream': /)
  t.ok(stream.destroyed)
})
