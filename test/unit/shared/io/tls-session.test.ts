import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import tls from 'node:tls'
import t from 'tap'
import { QIO_CHANNEL_ERR_BLOCK } from '../../../../shared/io/channel.ts'
import { TLSSession } from '../../../../shared/io/tls-session.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openssl } from '../../../../shared/syscall/openssl.ts'
import { creds, needs } from './tls-ends.ts'

const ssl = openssl()!
const RECORD = 16 * 1024

interface Pair {
  server: TLSSession
  client: TLSSession
}

/** Moves what one end is to send to the other. @returns how many bytes */
function carry(from: TLSSession, to: TLSSession, change?: (bytes: Buffer) => void): number {
  let total = 0
  for (let piece = from.unsent; piece; piece = from.unsent) {
    const bytes = piece.memory.buffer.subarray(piece.start, piece.end)
    change?.(bytes)
    const { room } = to
    const n = bytes.copy(room.memory.buffer, room.start, 0, room.end)
    to.received(n)
    from.sent(n)
    total += n
  }
  return total
}

function shaken({ server: ours, client: theirs } = creds()): Pair {
  const server = new TLSSession(ssl, ours, 'client')
  const client = new TLSSession(ssl, theirs, 'server', 'localhost')
  for (let done = 0; done < 2;) {
    done = 0
    for (const [from, to] of [
      [client, server],
      [server, client]
    ] as const) {
      if (from.handshake()) done++
      carry(from, to)
    }
  }
  return { server, client }
}

function freed(...sessions: TLSSession[]): void {
  for (const session of sessions) session.free()
}

void t.test('handshake - in memory, and who the peer is', needs, async (t) => {
  const { server, client } = shaken()
  t.equal(server.protocol, 'TLSv1.3')
  t.match(client.peerCertificate!.subjectAltName, /DNS:localhost/)
  t.ok(server.peerCertificate!.checkIssued(new crypto.X509Certificate(creds().server.ca!)))
  freed(server, client)
  t.throws(() => server.protocol, { kind: 'transport', message: /closed/ }, 'when it is freed')
  t.equal(server.unsent, undefined)
  server.free()
})

void t.test(
  'write - as much as it says there is room for, in whole records, and read gives it back',
  needs,
  async (t) => {
    const { server, client } = shaken()
    const size = server.writable
    t.ok(size >= 256 * 1024 && size % RECORD === 0, `${size} bytes`)
    const sent = Memory.allocate(size)
    crypto.randomFillSync(sent.buffer)
    const got = Memory.allocate(size)
    for (let round = 0; round < 3; round++) {
      server.write(sent.address, size)
      t.equal(server.writable, 0)
      const bytes = carry(server, client)
      t.ok(bytes > size && bytes <= client.room.end, `${bytes} bytes are encrypted`)
      t.ok(client.hasInput)
      for (let at = 0; at < size;) {
        const n = client.read(got.address + at, size - at)
        if (n <= 0) throw new Error(`read: ${n}`)
        at += n
      }
      t.equal(client.read(got.address, 1), QIO_CHANNEL_ERR_BLOCK)
      t.notOk(client.hasInput)
      t.equal(client.room.start, 0)
      t.ok(got.buffer.equals(sent.buffer))
    }
    freed(server, client)
  }
)

void t.test('read - a byte that was changed on the way is an error, and not data', needs, async (t) => {
  const { server, client } = shaken()
  const memory = Memory.allocate(RECORD)
  server.write(memory.address, 1000)
  carry(server, client, (bytes) => {
    bytes[500]! ^= 1
  })
  memory.buffer.fill(0xee)
  t.throws(() => client.read(memory.address, 1000), { kind: 'protocol', message: /^TLS: / })
  t.ok(client.unsent, 'an alert is to be sent')
  carry(client, server)
  t.throws(() => server.read(memory.address, 1), {
    kind: 'protocol',
    message: /the client refuses: .*bad record mac/
  })
  freed(server, client)
})

void t.test('end - behind what was written, and what comes the other way is still read', needs, async (t) => {
  const { server, client } = shaken()
  const memory = Memory.allocate(RECORD)
  memory.buffer.write('last')
  client.write(memory.address, 4)
  client.end()
  carry(client, server)
  t.equal(server.read(memory.address + 100, RECORD - 100), 4)
  t.equal(server.read(memory.address, 1), 0)
  t.equal(server.read(memory.address, 1), 0, 'for good')
  server.write(memory.address, 4)
  carry(server, client)
  t.equal(client.read(memory.address + 200, 100), 4)
  t.equal(memory.buffer.toString('latin1', 200, 204), 'last')
  freed(server, client)
})

void t.test('free - a thousand sessions take no more memory than one', needs, async (t) => {
  /** Also of what was never touched, in KiB. */
  const size = (): number =>
    Number(/^VmSize:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))![1])
  new TLSSession(ssl, creds().server, 'client').free()
  const before = size()
  for (let i = 0; i < 1000; i++) new TLSSession(ssl, creds().server, 'client').free()
  // The rings of all would be more than 500 MiB.
  t.ok(size() - before < 200 * 1024, `${size() - before} KiB`)
})

void t.test(
  'handshake - in the versions that have ciphers in what Node.js is told to use',
  needs,
  async (t) => {
    const { DEFAULT_CIPHERS } = tls
    const use = (ciphers: string): void => {
      tls.DEFAULT_CIPHERS = ciphers
      syncBuiltinESMExports()
    }
    t.teardown(() => use(DEFAULT_CIPHERS))
    for (const [ciphers, protocol] of [
      ['TLS_AES_128_GCM_SHA256', 'TLSv1.3'],
      ['ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256', 'TLSv1.2']
    ] as const) {
      // The server takes both, and the client has the one: contexts are made with the first session.
      use(DEFAULT_CIPHERS)
      const server = { ...creds().server }
      new TLSSession(ssl, server, 'client').free()
      use(ciphers)
      const pair = shaken({ ...creds(), server, client: { ...creds().client } })
      t.equal(pair.server.protocol, protocol)
      freed(pair.server, pair.client)
    }
  }
)
