/**
 * Peers with GnuTLS renew the keys of a session after some 2^24 records, and ask us to do the same: a disk that is copied gets
 * there. `gnutls-cli` does it when it is told to.
 */
import * as net from 'node:net'
import type { AddressInfo } from 'node:net'
import * as path from 'node:path'
import t from 'tap'
import { Coroutine, type CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import { loadServerCreds } from '../../shared/io/tls-creds.ts'
import { duplicateFd } from '../../shared/syscall/fd.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { Launched } from '../helpers/launched.ts'
import { program, requires } from '../helpers/requires.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { closedWith, newTLSServer, type TLSWay } from '../helpers/tls-pair.ts'

const LARGE = 300_000

for (const way of ['openssl', 'node:tls'] as const satisfies TLSWay[]) {
  void t.test(`${way} - goes on with new keys, both ways`, requires('gnutls-cli', 'certtool'), async (t) => {
    const { folder } = TestCA.make(t).server().client()
    const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
    t.teardown(() => server.close())
    await new Promise((resolve) => server.once('listening', resolve))
    const connected = new Promise<net.Socket>((resolve) => server.once('connection', resolve))
    const file = (name: string): string => path.join(folder, name)
    const client = new Launched(
      t,
      program('gnutls-cli'),
      [
        ...['--x509cafile', file('ca-cert.pem')],
        ...['--x509certfile', file('client-cert.pem'), '--x509keyfile', file('client-key.pem')],
        ...['--inline-commands', '--port', String((server.address() as AddressInfo).port), 'localhost']
      ],
      {},
      [],
      'pipe'
    )
    const socket = await connected
    const fd = duplicateFd((socket as unknown as { _handle: { fd: number } })._handle.fd)
    socket.destroy()
    const creds = loadServerCreds(folder, { verifyPeer: true })
    const channel = closedWith(t, newTLSServer({ fd, unread: Buffer.alloc(0) }, creds, way))
    await Coroutine.start(() => channel.handshake())
    t.equal(channel.protocol, 'TLSv1.3')

    const memory = Memory.allocate(2 * LARGE)
    const receive = (length: number): Promise<string> =>
      Coroutine.start(function* (): CoroutineFn<string> {
        yield* channel.readvAll([{ memory, start: 0, end: length }])
        return memory.buffer.toString('latin1', 0, length)
      })
    const send = (text: string): Promise<void> => {
      memory.buffer.write(text, 'latin1')
      return Coroutine.start(() => channel.writevAll([{ memory, start: 0, end: text.length }]))
    }
    const stdin = client.child.stdin!
    stdin.write('before\n')
    t.equal(await receive(7), 'before\n')
    for (const round of ['first', 'second']) {
      client.stdout = ''
      stdin.write('^rekey^\n')
      await client.output('stdout', /Rekey was completed/)
      stdin.write(`${round}\n`)
      t.equal(await receive(round.length + 1), `${round}\n`)
      const text = `${'x'.repeat(LARGE)}<end of the ${round}>\n`
      client.stdout = ''
      await send(text)
      await client.output('stdout', new RegExp(`<end of the ${round}>\\n`))
      t.equal(client.stdout, text)
    }
  })
}
