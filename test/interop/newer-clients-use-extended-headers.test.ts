import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { KiB, MiB, sameBytes } from '../helpers/files.ts'
import { Mqnbd, mqnbd } from '../helpers/mqnbd.ts'
import { requiresNewer, runNewerOk, sharedFolder, type SharedFolder } from '../helpers/newer-debian.ts'

const GiB = 1024 * MiB
const SIZE = 16 * MiB

interface Served {
  folder: SharedFolder
  /** For programs of Debian 13. */
  uri: string
  /** For ours. */
  ourUri: string
}

async function serve(t: Test, args: string[], options: string[] = []): Promise<Served> {
  const folder = sharedFolder(t)
  await Mqnbd.serve(t, [...args, ...options, '-k', `${folder.outside}/s`])
  return {
    folder,
    uri: `nbd+unix:///?socket=${folder.inside}/s`,
    ourUri: `nbd+unix:///?socket=${folder.outside}/s`
  }
}

/** With data of odd lengths at odd places, and holes. @returns its name in the folder */
function original(folder: SharedFolder): string {
  const fd = fs.openSync(path.join(folder.outside, 'original.img'), 'w+')
  fs.ftruncateSync(fd, SIZE)
  for (const [offset, length] of [
    [0, 1_000_001],
    [5 * MiB + 77, 3],
    [9 * MiB - 1, 600_000],
    [SIZE - 1, 1]
  ] as const)
    fs.writeSync(fd, crypto.randomBytes(length), 0, length, offset)
  fs.closeSync(fd)
  return 'original.img'
}

function sameReport(t: Test, form: string[], ours: string, theirs: string): void {
  if (form.includes('--json')) t.strictSame(JSON.parse(ours), JSON.parse(theirs), form.join(' '))
  else t.equal(ours, theirs, form.join(' '))
}

void t.test('nbdinfo 1.22 - says extended, and what mqnbd info says', requiresNewer('nbdinfo'), async (t) => {
  for (const options of [[], ['-r']]) {
    const { folder, uri, ourUri } = await serve(t, ['memory:3M', '-D', 'two words'], options)
    const theirs = await runNewerOk(t, 'nbdinfo', ['--no-content', '--json', uri])
    t.match(JSON.parse(theirs), { structured: true, extended: true, TLS: false })
    for (const form of [['--json'], [], ['--list'], ['--map'], ['--map', '--totals']]) {
      const content = form.includes('--map') ? [] : ['--no-content']
      const expected = await runNewerOk(t, 'nbdinfo', [...content, ...form, uri])
      const ours = await mqnbd(t, 'info', ...content, ...form, ourUri)
      // Each names the socket by its own path.
      sameReport(t, form, ours.stdout.replaceAll(folder.outside, folder.inside), expected)
    }
  }
  const { uri } = await serve(t, ['memory:3M'])
  await runNewerOk(t, 'nbdinfo', ['--has', 'extended-headers', uri])
  await runNewerOk(t, 'nbdinfo', ['--cannot', 'block-status-payload', uri])
})

void t.test('nbdcopy 1.22 - copies in and out', requiresNewer('nbdcopy'), async (t) => {
  const { folder, uri } = await serve(t, ['memory:16M'])
  const file = original(folder)
  await runNewerOk(t, 'nbdcopy', ['--destination-is-zero', '--flush', `${folder.inside}/${file}`, uri])
  await runNewerOk(t, 'nbdcopy', ['--connections=4', uri, `${folder.inside}/out.img`])
  t.ok(sameBytes(`${folder.outside}/${file}`, `${folder.outside}/out.img`))
  await runNewerOk(t, 'nbdcopy', [uri, uri], 60_000)
  await runNewerOk(t, 'nbdcopy', [uri, `${folder.inside}/again.img`])
  t.ok(sameBytes(`${folder.outside}/${file}`, `${folder.outside}/again.img`))
})

void t.test('qemu-img 10 - converts in and out, maps and compares', requiresNewer('qemu-img'), async (t) => {
  const { folder, uri } = await serve(t, ['memory:16M'])
  const [file, out] = [`${folder.inside}/${original(folder)}`, `${folder.inside}/out.img`]
  const raw = ['-f', 'raw', '-O', 'raw']
  await runNewerOk(t, 'qemu-img', ['convert', '-n', ...raw, file, uri])
  await runNewerOk(t, 'qemu-img', ['compare', '-f', 'raw', '-F', 'raw', file, uri])
  await runNewerOk(t, 'qemu-img', ['convert', ...raw, uri, out])
  t.ok(sameBytes(`${folder.outside}/original.img`, `${folder.outside}/out.img`))
  const map = JSON.parse(await runNewerOk(t, 'qemu-img', ['map', '-f', 'raw', '--output=json', uri])) as {
    start: number
    length: number
    zero: boolean
  }[]
  t.equal(map.at(-1)!.start + map.at(-1)!.length, SIZE)
  t.ok(map.some(({ zero }) => zero) && map.some(({ zero }) => !zero))
})

void t.test(
  'qemu-io 10 - one request over more than 4 GiB',
  requiresNewer('qemu-io', 'qemu-img'),
  async (t) => {
    const { uri } = await serve(t, [`memory:${20 * GiB}`])
    const io = (...commands: string[]): Promise<string> =>
      runNewerOk(t, 'qemu-io', ['-f', 'raw', '-d', 'unmap', ...commands.flatMap((c) => ['-c', c]), uri])
    await io(`write -P 1 0 64k`, `write -P 2 ${10 * GiB} 64k`, `write -P 3 ${20 * GiB - 64 * KiB} 64k`)
    const said = await io(`write -z -u -n 64k ${15 * GiB}`, `read -P 0 ${10 * GiB} 64k`, 'read -P 1 0 64k')
    t.notMatch(said, /failed|error/i)
    t.notMatch(
      await io(
        `write -z -u -n 0 ${19 * GiB}`,
        'discard 0 1G',
        'read -P 0 0 64k',
        `read -P 3 ${20 * GiB - 64 * KiB} 64k`
      ),
      /failed/i
    )
    const map = await runNewerOk(t, 'qemu-img', ['map', '-f', 'raw', '--output=json', uri])
    t.match(JSON.parse(map), [
      { start: 0, length: 20 * GiB - 64 * KiB, zero: true },
      { start: 20 * GiB - 64 * KiB, length: 64 * KiB, zero: false }
    ])
  }
)

/** Python, in nbdsh. */
const nbdsh = (t: Test, uri: string, script: string[]): Promise<string> =>
  runNewerOk(t, 'nbdsh', ['-c', `URI = '${uri}'`, ...script.flatMap((line) => ['-c', line])])

void t.test('libnbd 1.22 - 64-bit requests, and extents', requiresNewer('nbdsh'), async (t) => {
  const { uri } = await serve(t, [`memory:${40 * GiB}`])
  const said = await nbdsh(t, uri, [
    'h.add_meta_context("base:allocation"); h.connect_uri(URI)',
    'print(h.get_extended_headers_negotiated(), h.get_structured_replies_negotiated())',
    'h.pwrite(b"x" * 4096, 0); h.pwrite(b"y" * 4096, 30 * 2**30)',
    'h.cache(32 * 2**20, 0)',
    'h.block_status_64(40 * 2**30, 0, lambda name, at, extents, error: print(name, at, extents))',
    'h.zero(40 * 2**30 - 4096, 4096)',
    'h.block_status_64(40 * 2**30, 0, lambda name, at, extents, error: print(extents))',
    'h.trim(40 * 2**30, 0); h.flush()',
    'h.block_status_64(10 * 2**30, 5 * 2**30, lambda name, at, extents, error: print(extents), nbd.CMD_FLAG_REQ_ONE)',
    'h.shutdown()'
  ])
  t.strictSame(said.trim().split('\n'), [
    'True True',
    `base:allocation 0 [(4096, 0), (${30 * GiB - 4096}, 3), (4096, 0), (${10 * GiB - 4096}, 3)]`,
    `[(4096, 0), (${40 * GiB - 4096}, 3)]`,
    `[(${10 * GiB}, 3)]`
  ])
})

void t.test(
  'libnbd 1.22 - each form of requests that a client may choose',
  requiresNewer('nbdsh'),
  async (t) => {
    const { uri } = await serve(t, ['memory:1M'])
    const rest = 'h.pwrite(b"abc", 7); print(h.pread(3, 7), h.get_extended_headers_negotiated())'
    for (const [choice, extended] of [
      ['pass', 'True'],
      // Which libnbd takes for the lesser form of both.
      ['h.set_request_structured_replies(False)', 'False'],
      ['h.set_request_extended_headers(False)', 'False'],
      ['h.set_request_extended_headers(False); h.set_request_structured_replies(False)', 'False']
    ])
      t.equal(
        await nbdsh(t, uri, [`${choice}`, 'h.connect_uri(URI)', rest]),
        `bytearray(b'abc') ${extended}\n`
      )
  }
)

void t.test('libnbd 1.22 - is told what is wrong with a request', requiresNewer('nbdsh'), async (t) => {
  const { uri } = await serve(t, ['memory:1M'])
  const attempt = (call: string): string =>
    `exec("try:\\n  ${call}\\n  print('done')\\nexcept nbd.Error as error:\\n  print(error.errno)")`
  const said = await nbdsh(t, uri, [
    'h.set_strict_mode(0); h.connect_uri(URI)',
    attempt('h.pread(512, 2**63)'),
    attempt('h.zero(2**40, 0)'),
    attempt('h.trim(2**62, 2**62)'),
    attempt('h.pwrite(bytes(1), 2**20)'),
    attempt('h.pread(1, 0)')
  ])
  t.equal(said, 'EINVAL\nENOSPC\nEINVAL\nENOSPC\ndone\n')
})
