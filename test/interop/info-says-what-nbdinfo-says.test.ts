import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { emptyImage, KiB, MiB } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { Mqnbd, mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'

/** With something in it that file(1) knows, and data, holes, and data again behind. */
function sparseImage(t: Test): string {
  const image = emptyImage(t, 4 * MiB + 512)
  const fd = fs.openSync(image, 'r+')
  fs.writeSync(fd, Buffer.from('#!/bin/sh\necho "of the test"\n'), 0, undefined, 0)
  for (const at of [1, 2, 3])
    fs.writeSync(fd, Buffer.alloc(64 * KiB, 1), 0, 64 * KiB, at * MiB + at * 64 * KiB)
  fs.closeSync(fd)
  return image
}

async function qcow2Image(t: Test): Promise<string> {
  const image = path.join(tempDir(t), 'disk.qcow2')
  await runOk(t, program('qemu-img'), ['create', '-q', '-f', 'qcow2', image, '4M'])
  await runOk(t, program('qemu-img'), ['bitmap', '--add', image, 'b'])
  await runOk(t, program('qemu-io'), ['-c', 'write 1M 128k', image])
  return image
}

interface Served {
  needs: string[]
  serve: (t: Test) => Promise<string>
  /** Other maps than base:allocation; none at all where there is no block status. */
  maps?: string[]
  /** It has no way to list. */
  unlisted?: true
}

const nbdkit = (args: string[], more: Partial<Served> = {}): Served => ({
  needs: ['nbdkit'],
  serve: async (t) => (await Nbdkit.serve(t, args)).uri,
  maps: [],
  ...more
})

const servers: Record<string, Served> = {
  mqnbd: {
    needs: [],
    serve: async (t) => {
      const image = sparseImage(t)
      return (await Mqnbd.serve(t, [image, '-f', 'raw', '-x', 'a "ß"', '-D', 'two words'])).uri
    },
    maps: []
  },
  'mqnbd, TCP, read-only': {
    needs: [],
    serve: async (t) =>
      (await Mqnbd.serve(t, [sparseImage(t), '-f', 'raw', '-r', '-b', '127.0.0.1', '-p', '0'])).uri,
    maps: []
  },
  'qemu-nbd with a bitmap': {
    needs: ['qemu-nbd', 'qemu-img', 'qemu-io'],
    serve: async (t) =>
      (await QemuNbd.serve(t, ['-f', 'qcow2', '-r', '-A', '-B', 'b', '-e', '9', await qcow2Image(t)])).uri,
    maps: ['qemu:dirty-bitmap:b', 'qemu:allocation-depth']
  },
  nbdkit: {
    needs: ['nbdkit'],
    serve: async (t) => (await Nbdkit.serve(t, ['file', sparseImage(t)])).uri,
    maps: []
  },
  'nbdkit, block sizes, one connection': nbdkit([
    '--filter=multi-conn',
    '--filter=blocksize-policy',
    'memory',
    '1M',
    'blocksize-minimum=4K',
    'multi-conn-mode=disable'
  ]),
  'nbdkit, several exports': {
    needs: ['nbdkit'],
    serve: async (t) => {
      const folder = tempDir(t)
      for (const [i, name] of ['one', 'two', 'three'].entries())
        fs.writeFileSync(path.join(folder, name), Buffer.alloc(i * 1000))
      return (await Nbdkit.serve(t, ['file', `dir=${folder}`])).uriOf('two')
    },
    maps: []
  },
  'nbdkit without structured replies': nbdkit(['--no-sr', 'memory', '1M'], { maps: undefined }),
  'nbdkit with EXPORT_NAME only': nbdkit(['--mask-handshake=0', 'memory', '1M'], {
    maps: undefined,
    unlisted: true
  }),
  'nbdkit, oldstyle': nbdkit(['--oldstyle', '-r', 'memory', '1M'], { maps: undefined, unlisted: true })
}

/** What differs by design: our URIs of a default export on TCP have no slash at the end. */
const withoutSlash = (text: string): string => text.replaceAll(/(nbd:\/\/[^/\s"]+)\/(?=["\n])/g, '$1')

/** What nbdinfo 1.14 would have made of it, which knows no extended headers; 1.22 is compared elsewhere. */
const asBefore = (text: string): string =>
  text
    .replace('using extended packets', 'using structured packets')
    .replaceAll(/^(\tblock_size_\w+: \d+) \(.*\)$/gm, '$1')
    .replace(/^ *"extended": .*\n/m, '')
    .replaceAll(/^\s*"?can_block_status_payload"?: .*\n/gm, '')

/** nbdinfo's output, and ours, by the same options. */
async function compare(t: Test, uri: string, options: string[]): Promise<void> {
  const theirs = withoutSlash(await runOk(t, program('nbdinfo'), [...options, uri]))
  const ours = await mqnbd(t, 'info', ...options, uri)
  const what = options.join(' ')
  t.match(ours, { status: 0, stderr: '' }, what)
  const stdout = asBefore(ours.stdout)
  if (options.includes('--json')) t.strictSame(JSON.parse(stdout), JSON.parse(theirs), what)
  else t.equal(stdout, theirs, what)
}

for (const [name, { needs, serve, maps, unlisted }] of Object.entries(servers)) {
  void t.test(
    `mqnbd info - prints what nbdinfo prints: ${name}`,
    requires('nbdinfo', ...needs),
    async (t) => {
      const uri = await serve(t)
      for (const options of [[], ['--json']]) await compare(t, uri, options)
      for (const map of maps ? ['--map', ...maps.map((map) => `--map=${map}`)] : [])
        await compare(t, uri, [map, '--json'])
      if (!unlisted) return compare(t, uri, ['--list', '--json', '--content'])
      const { status, stdout, stderr } = await mqnbd(t, 'info', '--list', uri)
      t.strictSame([status, stdout], [1, ''])
      t.match(stderr, /^mqnbd: cannot list the exports of '.*': the server does not list its exports: .*\n$/)
    }
  )
}

void t.test('mqnbd info - every form of nbdinfo', requires('nbdinfo'), async (t) => {
  const { uri } = await Mqnbd.serve(t, [sparseImage(t), '-f', 'raw'])
  const forms = [['--size'], ['--list'], ['--map'], ['--map', '--totals'], ['--map', '--totals', '--json']]
  for (const options of forms) await compare(t, uri, options)
})

void t.test('mqnbd info - answers what nbdinfo answers', requires('nbdinfo', 'nbdkit'), async (t) => {
  const { uri } = await Nbdkit.serve(t, ['--no-sr', '-r', 'memory', '1M'])
  for (const feature of ['connect', 'Multi_Conn', 'structured replies', 'tls']) {
    const theirs = await run(t, program('nbdinfo'), ['--can', feature, uri])
    t.match(
      await mqnbd(t, 'info', '--can', feature, uri),
      { status: theirs.status, stdout: '', stderr: '' },
      feature
    )
  }
  t.match(await mqnbd(t, 'info', '--is', 'read-only', uri), { status: 0, stdout: '', stderr: '' })
  t.match(await mqnbd(t, 'info', '--isnt', 'read-only', uri), { status: 2, stdout: '', stderr: '' })
  t.match(await mqnbd(t, 'info', '--cannot', 'write', uri), { status: 0 })
  t.match(await mqnbd(t, 'info', '--has', 'structured-reply', uri), { status: 2 })
})
