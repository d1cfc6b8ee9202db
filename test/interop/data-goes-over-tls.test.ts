import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { emptyImage, imageOf, MiB, sameBytes } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'

/** Every 4 bytes depend on where they are. */
const pattern = (length: number): Uint8Array =>
  new Uint8Array(Uint32Array.from({ length: length / 4 }, (_, i) => i * 2654435761).buffer)

interface Served {
  ca: TestCA
  server: Mqnbd
  /** As libnbd's tools take it. */
  uri: (folder?: string) => string
}

async function serve(t: Test, image: string, ...args: string[]): Promise<Served> {
  const ca = TestCA.make(t).server().client()
  const server = await Mqnbd.serve(t, [image, '-f', 'raw', '--tls-creds', ca.folder, ...args])
  const uri = (folder = ca.folder): string =>
    `${server.uri}${server.uri.includes('?') ? '&' : '?'}tls-certificates=${folder}`
  return { ca, server, uri }
}

/** Options for QEMU's tools, to use `folder` as a client. */
const qemuCreds = (folder: string): string[] => [
  '--object',
  `tls-creds-x509,id=tls0,endpoint=client,dir=${folder}`
]
const qemuImage = ({ server }: Served): string =>
  `driver=nbd,path=${server.socket},tls-creds=tls0,tls-hostname=localhost`

void t.test(
  'nbdinfo - tells that it is TLS, and what is served',
  requires('certtool', 'nbdinfo'),
  async (t) => {
    for (const args of [[], ['-p', '0']]) {
      const { uri } = await serve(t, emptyImage(t, 3 * MiB), ...args)
      const info = JSON.parse(await runOk(t, program('nbdinfo'), ['--json', uri()])) as Record<
        string,
        unknown
      >
      t.match(info, {
        TLS: true,
        structured: true,
        exports: [{ 'export-size': 3 * MiB, can_multi_conn: true }]
      })
    }
  }
)

void t.test('nbdcopy - there and back', requires('certtool', 'nbdcopy'), async (t) => {
  const source = imageOf(t, pattern(24 * MiB))
  const disk = emptyImage(t, 24 * MiB)
  const { uri } = await serve(t, disk)
  const back = path.join(tempDir(t), 'back')
  await runOk(t, program('nbdcopy'), ['--flush', source, uri()])
  t.ok(sameBytes(source, disk))
  await runOk(t, program('nbdcopy'), ['--connections=4', uri(), back])
  t.ok(sameBytes(source, back))
})

void t.test('qemu-img - there and back, and compares', requires('certtool', 'qemu-img'), async (t) => {
  const source = imageOf(t, pattern(24 * MiB))
  const disk = emptyImage(t, 24 * MiB)
  const served = await serve(t, disk)
  const creds = qemuCreds(served.ca.folder)
  const back = path.join(tempDir(t), 'back')
  const qemuImg = (...args: string[]): Promise<string> => runOk(t, program('qemu-img'), args)
  await qemuImg('convert', ...creds, '-n', '--target-image-opts', '-f', 'raw', source, qemuImage(served))
  t.ok(sameBytes(source, disk))
  await qemuImg('convert', ...creds, '--image-opts', '-O', 'raw', qemuImage(served), back)
  t.ok(sameBytes(source, back))
})

void t.test('qemu-io - writes, zeroes and reads', requires('certtool', 'qemu-io'), async (t) => {
  const served = await serve(t, emptyImage(t, 8 * MiB))
  const commands = ['write -P 1 0 4M', 'write -z 1M 1M', 'read -P 1 0 1M', 'read -P 0 1M 1M', 'flush']
  const disk = [...qemuCreds(served.ca.folder), '--image-opts', qemuImage(served)]
  const { status, stdout, stderr } = await run(t, program('qemu-io'), [
    ...disk,
    ...commands.flatMap((command) => ['-c', command])
  ])
  t.equal(status, 0, stdout + stderr)
  t.notMatch(stdout + stderr, /failed|error/i)
})

void t.test('clients that are refused say so', requires('certtool', 'nbdinfo', 'qemu-img'), async (t) => {
  const served = await serve(t, emptyImage(t, MiB))
  const other = TestCA.make(t).client()
  // Knows our CA, and has a certificate of another.
  const stranger = other.with(t, 'client-cert.pem', 'client-key.pem')
  fs.copyFileSync(path.join(served.ca.folder, 'ca-cert.pem'), path.join(stranger, 'ca-cert.pem'))
  for (const folder of [stranger, other.folder]) {
    const info = await run(t, program('nbdinfo'), [served.uri(folder)])
    t.equal(info.status, 1, info.stderr)
    const qemu = [...qemuCreds(folder), '--image-opts', qemuImage(served)]
    t.equal((await run(t, program('qemu-img'), ['info', ...qemu])).status, 1)
  }
  await served.server.process.output('stderr', /the client's certificate was not signed by ca-cert\.pem/)
})
