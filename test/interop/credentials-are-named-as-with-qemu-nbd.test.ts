/** `--object tls-creds-x509,id=tls0,endpoint=server,...` and `--tls-creds tls0`, as qemu-nbd has them. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { allRefused } from '../helpers/command-line.ts'
import { imageOf, MiB } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'

const KEY = '00112233445566778899aabbccddeeff'
const bytes = Buffer.alloc(MiB, 'data')

const info = (socket: string, creds: string): string[] => [
  ...['info', '--object', `${creds},id=c,endpoint=client`],
  ...['--image-opts', `driver=nbd,path=${socket},tls-creds=c,tls-hostname=localhost`]
]

void t.test(
  'certificates - for an image, and for a graph of nodes',
  requires('certtool', 'qemu-img'),
  async (t) => {
    const image = imageOf(t, bytes)
    const ca = TestCA.make(t).server().client()
    const named = [
      '--object',
      `tls-creds-x509,id=tls0,endpoint=server,dir=${ca.folder}`,
      '--tls-creds',
      'tls0'
    ]
    const graph = [
      '--blockdev',
      `file,node-name=a,filename=${image},read-only=on`,
      '--export',
      'nbd,id=e,node-name=a,name='
    ]
    for (const what of [[image, '-f', 'raw', '-r'], graph]) {
      const { socket, uri, process } = await Mqnbd.serve(t, [...what, ...named])
      t.match(uri, /^nbds\+unix:/, 'TLS is required')
      await runOk(t, program('qemu-img'), info(socket!, `tls-creds-x509,dir=${ca.folder}`))
      const bare = `tls-creds-x509,dir=${ca.with(t, 'ca-cert.pem')}`
      const { status } = await run(t, program('qemu-img'), info(socket!, bare))
      t.equal(status, 1, 'a client without a certificate')
      await process.output('stderr', /certificate/)
    }
  }
)

void t.test('certificates - verify-peer=off serves clients without one', requires('certtool'), async (t) => {
  const ca = TestCA.make(t).server()
  const object = `tls-creds-x509,id=tls0,endpoint=server,verify-peer=off,dir=${ca.folder}`
  const { uri } = await Mqnbd.serve(t, ['memory:1M', '--object', object, '--tls-creds', 'tls0'])
  for (const [mode, scheme] of [
    ['off', 'nbd'],
    ['on', 'nbd'],
    ['require', 'nbds']
  ] as const) {
    const args = ['memory:1M', '--object', object, '--tls-creds', 'tls0', '--tls', mode]
    t.match((await Mqnbd.serve(t, args)).uri, new RegExp(`^${scheme}\\+unix:`), mode)
  }
  const disk = await connect(`${uri}&tls-certificates=${ca.with(t, 'ca-cert.pem')}&tls-hostname=localhost`)
  t.ok(disk.tls)
  await disk.close()
})

void t.test(
  'pre-shared keys - the qemu user, and one with another key; as JSON',
  requires('qemu-img'),
  async (t) => {
    const dirs = [tempDir(t), tempDir(t)]
    for (const [i, dir] of dirs.entries()) fs.writeFileSync(path.join(dir, 'keys.psk'), `qemu:${KEY}0${i}\n`)
    const json = JSON.stringify({ 'qom-type': 'tls-creds-psk', id: 'tls0', endpoint: 'server', dir: dirs[0] })
    const { socket } = await Mqnbd.serve(t, ['memory:1M', `--object=${json}`, '--tls-creds=tls0'])
    for (const [i, dir] of dirs.entries()) {
      const { status } = await run(t, program('qemu-img'), info(socket!, `tls-creds-psk,dir=${dir}`))
      t.equal(status, i)
    }
  }
)

void t.test('what cannot be is told in one line', requires('certtool'), async (t) => {
  const ca = TestCA.make(t).server().client()
  const object = (options: string): string[] => ['--object', `${options},dir=${ca.folder}`]
  const server = object('tls-creds-x509,id=tls0,endpoint=server')
  const serve = ['serve', 'memory:1M', '-k', path.join(tempDir(t), 's')]
  await allRefused(
    t,
    serve,
    [
      [
        [...object('tls-creds-x509,id=tls0'), '--tls-creds', 'tls0'],
        /'tls0' is for a client: .* endpoint=server/
      ],
      [[...server, '--tls-creds', 'tls1'], /cannot look into 'tls1': no such file/],
      [
        [...server, '--tls-creds', 'tls0', '--no-tls-verify-peer'],
        /--tls-verify-peer is for a folder: tls-creds-x509 'tls0' says itself/
      ],
      [[...server, ...server, '--tls-creds', 'tls0'], /--object: the id 'tls0' is taken/],
      [
        [...object('tls-creds-psk,id=tls0,endpoint=server'), '--tls-creds', 'tls0'],
        /keys\.psk': no such file/
      ]
    ],
    1
  )
  await allRefused(
    t,
    serve,
    [
      [
        ['--object', 'iothread,id=io0', '--tls-creds', 'io0'],
        /of objects only TLS credentials go with IMAGE/
      ],
      [['--object', 'tls-creds-x509'.repeat(2)], /of objects only TLS credentials go with IMAGE/],
      [['--object.x=1'], /of objects only TLS credentials go with IMAGE/],
      [[...server, '--export', 'nbd,id=e,node-name=a'], /give either IMAGE or --export, not both/]
    ],
    2
  )
  const graph = ['--blockdev', 'memory,node-name=a,size=1M', '--export', 'nbd,id=e,node-name=a']
  await allRefused(
    t,
    ['serve', '-k', path.join(tempDir(t), 's'), ...graph],
    [[['--object', 'iothread,id=io0', '--tls-creds', 'io0'], /cannot look into 'io0': no such file/]],
    1
  )
})
