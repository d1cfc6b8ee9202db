import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect, type NBDDisk, type NBDExtent, type NBDPackets } from '../../client/index.ts'
import { KiB, MiB, sameBytes } from '../helpers/files.ts'
import { mqnbd } from '../helpers/mqnbd.ts'
import { requiresNewer, runNewerOk, serveNewerNbdkit, serveNewerQemuNbd } from '../helpers/newer-debian.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const GiB = 1024 * MiB
const SIZE = 40 * GiB

async function collect(extents: AsyncIterable<NBDExtent>): Promise<NBDExtent[]> {
  const all: NBDExtent[] = []
  for await (const extent of extents) all.push(extent)
  return all
}

async function writesAndReads(t: Test, disk: NBDDisk): Promise<void> {
  const data = crypto.randomBytes(5 * MiB + 3)
  await disk.write(4096 - 1, data)
  t.ok(data.equals(await disk.read(4096 - 1, data.length)))
  await disk.zero(MiB, MiB)
  data.fill(0, MiB - 4095, 2 * MiB - 4095)
  t.ok(data.equals(await disk.read(4096 - 1, data.length)))
  if (disk.flags.canFlush) await disk.flush()
}

function sameReport(t: Test, form: string[], ours: string, theirs: string): void {
  if (form.includes('--json')) t.strictSame(JSON.parse(ours), JSON.parse(theirs), form.join(' '))
  else t.equal(ours, theirs, form.join(' '))
}

const servers: Record<string, { serve: (t: Test) => Promise<string>; packets: NBDPackets }> = {
  'qemu-nbd': {
    serve: async (t) => (await serveNewerQemuNbd(t, 16 * MiB, ['-e', '8'])).uri,
    packets: 'extended'
  },
  // Of the one after next they will be extended.
  nbdkit: { serve: async (t) => (await serveNewerNbdkit(t, ['memory', '16M'])).uri, packets: 'structured' }
}

for (const [name, { serve, packets }] of Object.entries(servers)) {
  void t.test(`client, ${name} of Debian 13 - every form of requests`, requiresNewer(name), async (t) => {
    const uri = await serve(t)
    for (const asked of ['extended', 'structured', 'simple'] as const) {
      const disk = await connect(uri, { packets: asked })
      t.equal(disk.packets, asked === 'extended' ? packets : asked)
      await writesAndReads(t, disk)
      await disk.close()
    }
  })

  void t.test(`mqnbd, ${name} of Debian 13 - copies in and out`, requiresNewer(name), async (t) => {
    const uri = await serve(t)
    const [file, out] = ['in.img', 'out.img'].map((name) => path.join(tempDir(t), name)) as [string, string]
    fs.writeFileSync(file, Buffer.concat([crypto.randomBytes(3 * MiB + 5), Buffer.alloc(13 * MiB - 5)]))
    t.match(await mqnbd(t, 'copy', file, uri), { status: 0, stderr: '' })
    t.match(await mqnbd(t, 'copy', uri, out), { status: 0, stderr: '' })
    t.ok(sameBytes(file, out))
  })
}

void t.test(
  'client, qemu-nbd 10 - effects and extents of more than 4 GiB',
  requiresNewer('qemu-nbd'),
  async (t) => {
    const { uri } = await serveNewerQemuNbd(t, SIZE, ['--discard=unmap', '-e', '4'])
    const disk = await connect(uri)
    t.equal(disk.flags.canBlockStatusPayload, true)
    t.strictSame(await collect(disk.blockStatus()), [{ offset: 0, length: SIZE, flags: 3 }])
    for (const offset of [0, 10 * GiB, SIZE - 64 * KiB]) await disk.write(offset, Buffer.alloc(64 * KiB, 1))
    t.strictSame(await collect(disk.blockStatus(64 * KiB, 20 * GiB)), [
      { offset: 64 * KiB, length: 10 * GiB - 64 * KiB, flags: 3 },
      { offset: 10 * GiB, length: 64 * KiB, flags: 0 },
      { offset: 10 * GiB + 64 * KiB, length: 10 * GiB, flags: 3 }
    ])
    await disk.zero(64 * KiB, SIZE - 128 * KiB)
    await disk.trim(0, 20 * GiB)
    t.strictSame(await collect(disk.blockStatus()), [
      { offset: 0, length: SIZE - 64 * KiB, flags: 3 },
      { offset: SIZE - 64 * KiB, length: 64 * KiB, flags: 0 }
    ])
    await disk.close()
  }
)

void t.test('client, qemu-nbd 10 - what it finds too long is split', requiresNewer('qemu-nbd'), async (t) => {
  const { uri } = await serveNewerQemuNbd(t, 256 * MiB)
  const disk = await connect(uri)
  await disk.cache(0, 256 * MiB)
  await disk.close()
})

void t.test(
  'mqnbd info - says what nbdinfo 1.22 says of qemu-nbd 10',
  requiresNewer('qemu-nbd', 'nbdinfo'),
  async (t) => {
    const server = await serveNewerQemuNbd(t, MiB, ['-e', '8', '-D', 'of the test'])
    for (const form of [['--json'], [], ['--list'], ['--map'], ['--map', '--totals']]) {
      const content = form.includes('--map') ? [] : ['--no-content']
      const theirs = await runNewerOk(t, 'nbdinfo', [...content, ...form, server.uriInside])
      const ours = await mqnbd(t, 'info', ...content, ...form, server.uri)
      sameReport(t, form, ours.stdout.replaceAll(server.folder.outside, server.folder.inside), theirs)
    }
    for (const feature of ['extended-headers', 'structured-reply'])
      t.match(await mqnbd(t, 'info', '--has', feature, server.uri), { status: 0 })
    t.match(await mqnbd(t, 'info', '--can', 'block-status-payload', server.uri), { status: 0 })
  }
)
