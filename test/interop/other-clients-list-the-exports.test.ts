import t from 'tap'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'

void t.test('nbd-client -l - on TCP', requires('nbd-client'), async (t) => {
  const server = await Mqnbd.serve(t, [
    'memory:1M',
    '-x',
    'disk',
    '-D',
    'a text',
    '-p',
    '0',
    '-b',
    '127.0.0.1'
  ])
  const { port } = new URL(server.uri)
  const listed = await runOk(t, program('nbd-client'), ['-l', '127.0.0.1', port])
  t.match(listed, /^disk: a text$/m)
})

void t.test('nbd-client -l - on a Unix socket', requires('nbd-client'), async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk', '-D', 'a text'])
  t.match(await runOk(t, program('nbd-client'), ['-l', '-unix', server.socket!]), /^disk: a text$/m)
})

void t.test('qemu-nbd --list - tells all of an export', requires('qemu-nbd'), async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk', '-D', 'a text'])
  const listed = await runOk(t, program('qemu-nbd'), ['--list', '-k', server.socket!])
  t.match(listed, /exports available: 1\n/)
  t.match(listed, / export: 'disk'\n/)
  t.match(listed, / description: a text\n/)
  t.match(listed, / size: +1048576\n/)
  t.match(listed, /flags: 0x\w+ \( flush fua trim zeroes df multi cache fast-zero \)/)
  t.match(listed, /min block: 1\n +opt block: 4096\n +max block: 33554432\n/)
  t.match(listed, /available meta contexts: 1\n +base:allocation\n/)
})
