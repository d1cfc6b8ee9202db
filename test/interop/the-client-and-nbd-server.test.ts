import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import { constants } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { connect, list } from '../../client/index.ts'
import { KiB, MiB, sameBytes } from '../helpers/files.ts'
import { mqnbd } from '../helpers/mqnbd.ts'
import { serveNbdServer } from '../helpers/nbd-server.ts'
import { requiresNewer } from '../helpers/newer-debian.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const SIZE = 16 * MiB
/** It may not listen yet. */
const patient = { openTimeoutMs: 20_000 }
const all = ['flush = true', 'fua = true', 'trim = true']

for (const [name, newer] of [
  ['nbd-server 3.24', false],
  ['nbd-server 3.26', true]
] as const) {
  const needed = newer ? requiresNewer('nbd-server') : requires('nbd-server')

  void t.test(`client, ${name} - reads, writes, zeroes, trims and flushes`, needed, async (t) => {
    const { uri, image } = await serveNbdServer(t, { size: SIZE, disk: all, newer })
    const disk = await connect(uri, patient)
    t.strictSame([disk.size, disk.handshake, disk.exportName], [SIZE, 'newstyle-fixed', 'disk'])
    t.match(disk.flags, { canFlush: true, canFua: true, canTrim: true, readOnly: false })
    const data = crypto.randomBytes(3 * MiB)
    await disk.write(4096 - 1, data)
    await disk.write(8 * MiB, data.subarray(0, 64 * KiB), { fua: true })
    await disk.flush()
    t.ok(data.equals(await disk.read(4096 - 1, data.length)))
    t.ok(data.subarray(0, 64 * KiB).equals(await disk.read(8 * MiB, 64 * KiB)))
    await disk.trim(8 * MiB, 64 * KiB)
    if (disk.flags.canZero) {
      await disk.zero(0, MiB)
      t.ok(Buffer.alloc(MiB).equals(await disk.read(0, MiB)))
    }
    await disk.close()
    const { length } = data
    const file = fs.readFileSync(image).subarray(MiB, 4096 - 1 + length)
    t.ok(file.equals(data.subarray(MiB - 4096 + 1)), 'it is in the file')
  })

  void t.test(`client, ${name} - many requests at once`, needed, async (t) => {
    const { uri } = await serveNbdServer(t, { size: SIZE, disk: all, newer })
    const disk = await connect(uri, patient)
    const blocks = Array.from({ length: 128 }, () => crypto.randomBytes(64 * KiB))
    await Promise.all(blocks.map((block, i) => disk.write(i * block.length, block)))
    const read = await Promise.all(blocks.map((block, i) => disk.read(i * block.length, block.length)))
    t.ok(read.every((bytes, i) => bytes.equals(blocks[i]!)))
    await disk.close()
  })

  void t.test(`client, ${name} - a read-only export, and one that is not there`, needed, async (t) => {
    const readOnly = await serveNbdServer(t, { size: SIZE, disk: ['readonly = true'], newer })
    const disk = await connect(readOnly.uri, patient)
    t.equal(disk.readOnly, true)
    t.match(await failureOf(disk.write(0, Buffer.alloc(512))), {
      kind: 'request',
      errno: constants.errno.EPERM
    })
    await disk.close()
    const other = await serveNbdServer(t, { size: SIZE, newer })
    const missing = await failureOf(connect(other.uri.replace('disk', 'none'), patient))
    t.match(missing, { kind: 'request', message: /the server has no such export/ })
  })

  void t.test(`client, ${name} - lists the exports`, needed, async (t) => {
    const more = ['[two]', 'exportname = /dev/zero', 'filesize = 4096']
    const { uri } = await serveNbdServer(t, {
      size: SIZE,
      generic: ['allowlist = true'],
      disk: more,
      newer
    })
    const names = (await list(uri)).map(({ name }) => name)
    t.strictSame(names.sort(), ['disk', 'two'])
  })

  void t.test(`mqnbd, ${name} - copies in`, needed, async (t) => {
    const { uri, image } = await serveNbdServer(t, { size: SIZE, disk: all, newer })
    const file = path.join(tempDir(t), 'in.img')
    fs.writeFileSync(file, Buffer.concat([crypto.randomBytes(5 * MiB + 3), Buffer.alloc(11 * MiB - 3)]))
    t.match(await mqnbd(t, 'copy', file, uri), { status: 0, stderr: '' })
    t.ok(sameBytes(file, image))
  })
}

void t.test('client, nbd-server 3.24 - over TLS', requires('nbd-server', 'certtool'), async (t) => {
  const { folder } = TestCA.make(t).server().client()
  const generic = [
    `cacertfile = ${folder}/ca-cert.pem`,
    `certfile = ${folder}/server-cert.pem`,
    `keyfile = ${folder}/server-key.pem`,
    'force_tls = true'
  ]
  const { uri } = await serveNbdServer(t, { size: SIZE, generic, disk: all })
  const disk = await connect(uri, { ...patient, tls: { certificates: folder, hostname: 'localhost' } })
  t.equal(disk.tls, true)
  const data = crypto.randomBytes(MiB)
  await disk.write(77, data)
  await disk.flush()
  t.ok(data.equals(await disk.read(77, MiB)))
  await disk.close()
})
