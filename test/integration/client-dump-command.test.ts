import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { allRefused } from '../helpers/command-line.ts'
import { imageOf, MiB } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { MQNBD, mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'

void t.test('dump - prints what nbddump does', requires('nbddump'), async (t) => {
  const bytes = Buffer.concat([
    crypto.randomBytes(5000),
    Buffer.alloc(3000),
    Buffer.alloc(100, 'text, and again '),
    Buffer.alloc(MiB),
    crypto.randomBytes(77),
    Buffer.alloc(99_000)
  ])
  const image = imageOf(t, bytes)
  fs.truncateSync(image, 40 * MiB + 5)
  const server = await Mqnbd.serve(t, [image, '-r', '-f', 'raw'])
  for (const options of [
    [],
    ['--color'],
    ['--no-colour'],
    ['-n', '5003'],
    ['--length=2000000'],
    ['-n', '0']
  ]) {
    const theirs = await runOk(t, program('nbddump'), [...options, server.uri])
    const ours = await mqnbd(t, 'dump', ...options, server.uri)
    t.equal(ours.stderr, '')
    t.equal(ours.status, 0)
    t.ok(ours.stdout === theirs, `${options.join(' ')}: ${theirs.length} characters`)
  }
})

void t.test('dump - from any byte on, and of a file', async (t) => {
  const image = imageOf(t, Buffer.from('0123456789abcdefghij'))
  const text = '0000000005: 35 36 37                                         |567             |\n'
  for (const args of [
    ['--offset=5', '-n', '3', image],
    [image, '--offset', '5', '--limit', '3']
  ])
    t.match(await mqnbd(t, 'dump', ...args), { status: 0, stdout: text, stderr: '' })
})

void t.test('dump - whoever reads it may stop', async (t) => {
  const image = imageOf(t, crypto.randomBytes(4 * MiB))
  const script = `"$0" "$@" | head -n 1; wait`
  const { stdout, stderr } = await run(t, 'sh', ['-c', script, process.execPath, MQNBD, 'dump', image])
  t.match(stdout, /^0000000000: .*\n$/)
  t.equal(stderr, '')
})

void t.test('dump - one line says what is wrong', async (t) => {
  const image = imageOf(t, Buffer.alloc(1000))
  const cases: [string[], RegExp][] = [
    [[`${image}.none`], /cannot open '.*': no such file or directory/],
    [['--offset=1001', image], /--offset: 1001 lies behind the end of '.*', which has 1000 bytes/],
    [['-n', 'x', image], /--length: 'x' is not a size/]
  ]
  await allRefused(t, ['dump'], cases, 1)
  await allRefused(t, ['dump'], [[[], /which URI/]], 2)
})
