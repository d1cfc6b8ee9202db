import t from 'tap'
import { emptyImage, MiB } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'

interface Info {
  protocol: string
  exports: Record<string, unknown>[]
}

const nbdinfo = async (...args: Parameters<typeof runOk>): Promise<Info> =>
  JSON.parse(await runOk(...args)) as Info

/** What is the same for every export of ours. */
const always = {
  contexts: ['base:allocation'],
  is_rotational: false,
  can_cache: true,
  can_df: true,
  can_flush: true,
  can_fua: true,
  block_size_minimum: 1,
  block_size_preferred: 4096,
  block_size_maximum: 32 * MiB
}

void t.test('nbdinfo --json - writable export on a Unix socket', requires('nbdinfo'), async (t) => {
  const image = emptyImage(t, 3 * MiB + 513)
  const server = await Mqnbd.serve(t, [image, '-x', 'ein Name/ß', '-D', 'two words, 二'])
  const info = await nbdinfo(t, program('nbdinfo'), ['--json', server.uri])
  t.match(info, { protocol: 'newstyle-fixed', TLS: false, structured: true })
  t.equal(info.exports.length, 1)
  t.match(info.exports[0], {
    ...always,
    'export-name': 'ein Name/ß',
    description: 'two words, 二',
    'export-size': 3 * MiB + 513,
    is_read_only: false,
    can_multi_conn: true,
    can_trim: true,
    can_zero: true,
    can_fast_zero: true
  })
})

void t.test('nbdinfo --json - read-only export on TCP', requires('nbdinfo'), async (t) => {
  const image = emptyImage(t, MiB)
  const server = await Mqnbd.serve(t, [image, '-r', '-p', '0', '-b', '127.0.0.1'])
  const info = await nbdinfo(t, program('nbdinfo'), ['--json', server.uri])
  t.match(info.exports, [
    {
      ...always,
      'export-name': '',
      'export-size': MiB,
      is_read_only: true,
      can_multi_conn: true,
      can_trim: false,
      can_zero: false,
      can_fast_zero: false
    }
  ])
  t.notHas(info.exports[0], { description: String }, 'no description was given')
})

void t.test('nbdinfo --list - names the export and tells the same of it', requires('nbdinfo'), async (t) => {
  const server = await Mqnbd.serve(t, ['memory:5M', '-x', 'disk', '-D', 'of the test'])
  const root = server.uri.replace('/disk?', '/?')
  const { exports } = await nbdinfo(t, program('nbdinfo'), ['--list', '--json', root])
  t.match(exports, [{ ...always, 'export-name': 'disk', description: 'of the test', 'export-size': 5 * MiB }])
  t.equal(exports.length, 1)
})

void t.test('nbdinfo --size - of an image of one byte', requires('nbdinfo'), async (t) => {
  const server = await Mqnbd.serve(t, [emptyImage(t, 1)])
  t.equal(await runOk(t, program('nbdinfo'), ['--size', server.uri]), '1\n')
})
