import * as fs from 'node:fs'
import t from 'tap'
import { negotiateSocket, leaveSocket } from '../../client/attach/negotiated-socket.ts'
import { parseUri } from '../../shared/protocol/uri.ts'
import { allRefused, isRefusal } from '../helpers/command-line.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { waitFor } from '../helpers/wait-for.ts'

const withModule = fs.existsSync('/sys/module/nbd')

void t.test('attach, detach - what cannot be is told in one line', async (t) => {
  const uri = 'nbd://localhost'
  await allRefused(t, ['attach'], [[['/dev/nbd0'], /URI/]], 2)
  await allRefused(
    t,
    ['attach'],
    [
      [['/dev/sda', uri], /'\/dev\/sda' is not an NBD device/],
      [['/dev/nbd0', 'nbds://localhost'], /TLS/],
      [['/dev/nbd0', 'nbd+vsock://2'], /TCP and Unix sockets only/]
    ],
    1
  )
  await allRefused(t, ['detach'], [[[], /DEVICE/]], 2)
})

void t.test(
  'attach, detach - without the kernel module',
  { skip: withModule && 'it is loaded' },
  async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M'], { once: true })
    isRefusal(
      t,
      await mqnbd(t, 'attach', '/dev/nbd0', server.uri),
      1,
      /no NBD client.*modprobe nbd/,
      'attach'
    )
    isRefusal(t, await mqnbd(t, 'detach', '/dev/nbd0'), 1, /no NBD client.*modprobe nbd/, 'detach')
    t.notOk(server.process.ended, 'the server, which would end with its first client, has seen none')
  }
)

void t.test('attach - the kernel gets a socket in transmission, with simple replies', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const { fd, negotiated } = await negotiateSocket(parseUri(server.uri))
  t.match(negotiated, { size: 1024 * 1024, mode: 0, handshake: 'newstyle-fixed' })
  await waitFor('the server to have the connection', () => openSockets(server.process.pid) > 0)
  const { status, stdout } = await mqnbd(t, 'info', '--size', server.uri)
  t.same({ status, stdout }, { status: 0, stdout: '1048576\n' })
  await leaveSocket(fd)
  const { status: ended, stderr } = { ...(await server.process.end()), stderr: server.process.stderr }
  t.same({ ended, stderr }, { ended: 0, stderr: '' }, 'it was left in order')
})

void t.test('attach - an export that is not there', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'a'])
  const uri = parseUri(server.uri)
  await t.rejects(negotiateSocket({ ...uri, exportName: 'b' }), { kind: 'request', message: /cannot open/ })
})
