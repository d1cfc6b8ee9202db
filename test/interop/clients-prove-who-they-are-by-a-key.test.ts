import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { emptyImage, imageOf, MiB, sameBytes } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

interface Served {
  server: Mqnbd
  /** Has keys.psk, with those of alice and qemu. */
  folder: string
  /** Has keys.psk with another key of alice's, and one of carol's. */
  others: string
}

const key = (): string => crypto.randomBytes(32).toString('hex')

async function serve(t: Test, image: string, ...args: string[]): Promise<Served> {
  const [folder, others] = [tempDir(t), tempDir(t)] as const
  const [keys, otherKeys] = [folder, others].map((dir) => path.join(dir, 'keys.psk')) as [string, string]
  fs.writeFileSync(keys, `alice:${key()}\nqemu:${key()}\n`, { mode: 0o600 })
  fs.writeFileSync(otherKeys, `alice:${key()}\ncarol:${key()}\nqemu:${key()}\n`, { mode: 0o600 })
  const server = await Mqnbd.serve(t, [image, '-f', 'raw', '--tls-psk', keys, ...args])
  return { server, folder, others }
}

const uri = ({ server }: Served, username: string, folder: string): string =>
  `nbds+unix://${username}@/?socket=${server.socket}&tls-psk-file=${path.join(folder, 'keys.psk')}`

const qemuImage = ({ server }: Served, folder: string, username = 'qemu'): string[] => [
  '--object',
  `tls-creds-psk,id=tls0,endpoint=client,dir=${folder},username=${username}`,
  '--image-opts',
  `driver=nbd,path=${server.socket},tls-creds=tls0`
]

const refusals = [/the client has another key for this user/, /the client's user 'carol' has no key here/]

void t.test("libnbd's tools - users with a key, and others", requires('nbdinfo', 'nbdcopy'), async (t) => {
  const source = imageOf(t, crypto.randomBytes(8 * MiB))
  const disk = emptyImage(t, 8 * MiB)
  const served = await serve(t, disk, '--iothreads', '2')
  t.match(served.server.uri, /^nbds\+unix:/)
  const alice = uri(served, 'alice', served.folder)
  t.match(JSON.parse(await runOk(t, program('nbdinfo'), ['--json', alice])), { TLS: true })
  await runOk(t, program('nbdcopy'), ['--connections=4', '--flush', source, alice])
  t.ok(sameBytes(source, disk))
  const back = path.join(tempDir(t), 'back')
  await runOk(t, program('nbdcopy'), [alice, back])
  t.ok(sameBytes(source, back))
  for (const [i, user] of ['alice', 'carol'].entries()) {
    const { status, stderr } = await run(t, program('nbdinfo'), [uri(served, user, served.others)])
    t.equal(status, 1, stderr)
    await served.server.process.output('stderr', refusals[i]!)
  }
  const plain = await run(t, program('nbdinfo'), [`nbd+unix:///?socket=${served.server.socket}`])
  t.equal(plain.status, 1)
})

void t.test('qemu-img - with a key, and with another', requires('qemu-img'), async (t) => {
  const source = imageOf(t, crypto.randomBytes(4 * MiB))
  const served = await serve(t, source)
  const back = path.join(tempDir(t), 'back')
  const mine = qemuImage(served, served.folder)
  await runOk(t, program('qemu-img'), ['convert', ...mine, '-O', 'raw', back])
  t.ok(sameBytes(source, back))
  const { status } = await run(t, program('qemu-img'), ['info', ...qemuImage(served, served.others)])
  t.equal(status, 1)
  await served.server.process.output('stderr', refusals[0]!)
})

void t.test('mqnbd - a client of many connections; TLS is optional when that is asked for', async (t) => {
  const served = await serve(t, emptyImage(t, MiB), '--tls', 'on', '--iothreads', '2')
  const disk = await connect(uri(served, 'alice', served.folder), { connections: 4 })
  t.teardown(() => disk.close())
  t.ok(disk.tls)
  const bytes = crypto.randomBytes(64 * 1024)
  await Promise.all([0, 1, 2, 3].map((i) => disk.write(i * bytes.length, bytes)))
  t.ok((await disk.read(3 * bytes.length, bytes.length)).equals(bytes))
  await t.rejects(connect(uri(served, 'carol', served.others)), {
    message: /the server refuses: .*perhaps since it has no key for this user/
  })
  const plain = await connect(`nbd+unix:///?socket=${served.server.socket}`)
  t.equal(plain.tls, false)
  await plain.close()
})
