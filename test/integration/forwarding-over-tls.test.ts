import * as path from 'node:path'
import t, { type Test } from 'tap'
import '../../client/driver/index.ts'
import { connect } from '../../client/index.ts'
import { openNode } from '../../shared/block/driver-registry.ts'
import { allRefused } from '../helpers/command-line.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { loadSize, randomLoad } from '../helpers/random-load.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const DEPTH = 4
const LONG_S = 600

async function forward(t: Test, origin: string, ca: TestCA, options: string): Promise<Mqnbd> {
  return Mqnbd.serve(t, [
    ...['--object', 'iothread,id=io0', '--object', 'iothread,id=io1'],
    ...['--object', `tls-creds-x509,id=tls0,dir=${ca.folder}`],
    ...['--blockdev', `nbd,node-name=far,server.type=unix,server.path=${origin},tls-creds=tls0${options}`],
    ...['--export', 'nbd,id=e,node-name=far,name=,writable=on,iothread.0=io0,iothread.1=io1']
  ])
}

void t.test('forwarding - an origin with TLS is restarted under load', requires('certtool'), async (t) => {
  const ca = TestCA.make(t).server().client()
  const socket = path.join(tempDir(t), 's')
  const size = loadSize(2, DEPTH)
  const args = [emptyImage(t, size), '-f', 'raw', '--tls-creds', ca.folder, '-k', socket]
  const origin = await Mqnbd.serve(t, args)
  const server = await forward(t, socket, ca, `,reconnect-delay=${LONG_S}`)
  const disks = [await connect(server.uri), await connect(server.uri)]
  const shadow = Buffer.alloc(size)
  let restarted = false
  const load = randomLoad(disks, shadow, DEPTH, (steps) => steps >= 200 && restarted)
  await origin.process.end('SIGKILL')
  await Mqnbd.serve(t, args)
  restarted = true
  await load
  t.ok((await disks[1]!.read(0, shadow.length)).equals(shadow))
  await Promise.all(disks.map((disk) => disk.close()))
  t.match(await server.process.end(), { status: 0 })
})

void t.test(
  'forwarding - an origin with TLS that goes away fails each request',
  requires('certtool'),
  async (t) => {
    const ca = TestCA.make(t).server().client()
    const origin = await Mqnbd.serve(t, [emptyImage(t, MiB), '-f', 'raw', '--tls-creds', ca.folder])
    const server = await forward(t, origin.socket!, ca, '')
    const disk = await connect(server.uri)
    t.equal((await disk.read(0, 512)).length, 512)
    await origin.process.end('SIGKILL')
    t.match(await failureOf(disk.read(0, 512)), { kind: 'request', errno: 5 })
    await disk.close()
  }
)

void t.test(
  'forwarding - what is wrong with credentials is told in one line',
  requires('certtool'),
  async (t) => {
    const ca = TestCA.make(t).server().client()
    const object = (options: string): string[] => ['--object', options]
    const node = (options: string): string[] => [
      ...['--blockdev', `nbd,node-name=far,server.type=unix,server.path=/nowhere${options}`],
      ...['--export', 'nbd,id=e,node-name=far']
    ]
    const { folder } = ca
    const foreign = TestCA.make(t).client().folder
    const origin = (await Mqnbd.serve(t, ['memory:1M', '--tls-creds', folder])).socket!
    const far = (options: string): string[] => [
      ...['--blockdev', `nbd,node-name=far,server.type=unix,server.path=${origin},tls-creds=tls0${options}`],
      ...['--export', 'nbd,id=e,node-name=far']
    ]
    const signed = /cannot open 'nbds\+unix:.*the server's certificate was not signed by ca-cert\.pem\n/
    await allRefused(
      t,
      ['serve', '-k', path.join(tempDir(t), 's')],
      [
        [[...object(`tls-creds-x509,id=tls0,dir=${foreign}`), ...far('')], signed],
        [[`nbds+unix:///?socket=${origin}&tls-certificates=${foreign}`], signed],
        [
          [...object(`tls-creds-x509,id=tls0,dir=${folder}`), ...far(',tls-hostname=a.example')],
          /certificate is for another: /
        ],
        [node(',tls-creds=tls0'), /--blockdev: tls-creds: there is no object 'tls0'/],
        [
          [...object('iothread,id=io0'), ...node(',tls-creds=io0')],
          /--blockdev: tls-creds: 'io0' is an object of type iothread, not tls-creds-x509 or tls-creds-psk/
        ],
        [node(',tls-hostname=a.example'), /--blockdev: tls-hostname: 'tls-creds' is missing/],
        [[...object('tls-creds-x509,id=a'), ...node('')], /--object: 'dir' is missing/],
        [[...object('tls-creds-x509,id=a,dir=/no/such'), ...node('')], /cannot look into '\/no\/such'/],
        [
          [...object(`tls-creds-x509,id=a,dir=${folder},endpoint=server`), ...node(',tls-creds=a')],
          /--blockdev: tls-creds: 'a' is for a server: a client needs endpoint=client/
        ],
        [[...object(`tls-creds-x509,id=a,dir=${folder},endpoint=both`), ...node('')], /'both' is not/],
        [[...object(`tls-creds-psk,id=a,dir=${folder}`), ...node('')], /keys\.psk': no such file/],
        [
          [...object(`tls-creds-x509,id=a,dir=${folder}`), ...node(',tls-creds=a')],
          /--blockdev: cannot open 'nbds\+unix:.*no such file/
        ]
      ],
      1
    )
  }
)

void t.test('forwarding - an origin with TLS by its URI', requires('certtool'), async (t) => {
  const ca = TestCA.make(t).server().client()
  const origin = await Mqnbd.serve(t, ['memory:1M', '--tls-creds', ca.folder])
  const uri = `nbds+unix:///?socket=${origin.socket}&tls-certificates=${ca.folder}&tls-hostname=127.0.0.1`
  const server = await Mqnbd.serve(t, [uri, '-f', 'raw', '--iothreads', '2'])
  const disk = await connect(server.uri)
  await disk.write(0, Buffer.alloc(512, 3))
  t.ok((await disk.read(0, 512)).every((byte) => byte === 3))
  await disk.close()
  t.match(await server.process.end(), { status: 0 })
})

void t.test('forwarding - cache.no-flush leaves flushes to nobody', async (t) => {
  const origin = await Mqnbd.serve(t, [emptyImage(t, MiB), '-f', 'raw'])
  const options = { driver: 'nbd', server: { type: 'unix', path: origin.socket! } } as const
  const [careful, careless] = [
    await openNode(options),
    await openNode({ ...options, cache: { 'no-flush': true } })
  ]
  t.teardown(() => Promise.all([careful.close(), careless.close()]))
  t.equal(careful.takesFua, true)
  t.equal(careless.takesFua, false, 'what is not flushed is not to be written through either')
  await origin.process.end('SIGKILL')
  t.match(await failureOf(careful.flush()), { kind: 'request', errno: 5 })
  await careless.flush()
})
