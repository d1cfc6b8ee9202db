import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { allRefused, isRefusal } from '../helpers/command-line.ts'
import { Launched, run } from '../helpers/launched.ts'
import { MQNBD, mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('shell -c - runs code with the disk in it, and what it prints is all', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const code =
    "await disk.write(512, Buffer.from('hello')); console.log(disk.size, String(await disk.read(512, 5)))"
  for (const args of [
    [server.uri, '-c', code],
    ['-u', server.uri, '--command', code]
  ]) {
    t.match(await mqnbd(t, 'shell', ...args), { status: 0, stdout: '1048576 hello\n', stderr: '' })
  }
})

void t.test('shell -c - several are one script; await, require and import() work', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const codes = [
    "const { EOL } = require('node:os')",
    "const { basename } = await import('node:path') // the base name",
    "['a'].forEach((name) => console.log(basename('/x/' + name) + EOL + disk.size))",
    'hexdump(Buffer.from("0123456789abcdefXYZ"), 4096)'
  ]
  const { status, stdout, stderr } = await mqnbd(
    t,
    'shell',
    server.uri,
    ...codes.flatMap((code) => ['-c', code])
  )
  t.same({ status, stderr }, { status: 0, stderr: '' })
  t.equal(
    stdout,
    [
      'a',
      '1048576',
      '00001000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|',
      '00001010  58 59 5a                                          |XYZ|',
      ''
    ].join('\n')
  )
})

void t.test('shell -c - import() and require() resolve from the working directory', async (t) => {
  const folder = tempDir(t)
  fs.writeFileSync(path.join(folder, 'm.mjs'), 'export const a = 1')
  fs.writeFileSync(path.join(folder, 'c.cjs'), 'exports.b = 2')
  const code = "console.log((await import('./m.mjs')).a, require('./c.cjs').b)"
  const line = `cd '${folder}' && exec '${process.execPath}' '${MQNBD}' shell -c "$0"`
  t.match(await run(t, 'sh', ['-c', line, code]), { status: 0, stdout: '1 2\n', stderr: '' })
})

void t.test('shell -c - what fails is told in one line, with status 1', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-r'])
  const refused = [
    [['await disk.read(1048576, 1)'], /end of the export/],
    [['await disk.write(0, Buffer.alloc(1))'], /read-only/],
    [['const a = 1', 'a.b.c'], /TypeError: .* \(line 2\)/],
    [['let x = ;'], /SyntaxError: .* \(line 1\)/],
    [["throw 'a string'"], /the script threw a string/],
    [["Promise.reject(new Error('forgotten')); await disk.read(0, 512)"], /Error: forgotten/]
  ] as const
  for (const [codes, reason] of refused) {
    const ran = await mqnbd(t, 'shell', server.uri, ...codes.flatMap((code) => ['-c', code]))
    isRefusal(t, ran, 1, reason, codes.join())
  }
  t.match(await mqnbd(t, 'shell', server.uri, '-c', 'process.exit(7)'), { status: 7 })
})

void t.test('shell - a script on standard input, by -c - and without', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  for (const args of [[server.uri, '-c', '-'], [server.uri]]) {
    const input = 'const sector = await disk.read(0, 512)\nconsole.log(sector.length)\n'
    const { status, stdout, stderr } = spawnSync(process.execPath, [MQNBD, 'shell', ...args], {
      input,
      encoding: 'utf8',
      timeout: 60_000
    })
    t.same({ status, stdout, stderr }, { status: 0, stdout: '512\n', stderr: '' }, args.join(' '))
  }
})

void t.test('shell - without a URI a script connects itself', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const code = `const own = await connect('${server.uri}'); console.log(typeof disk, own.size); await own.close()`
  t.match(await mqnbd(t, 'shell', '-c', code), { status: 0, stdout: 'undefined 1048576\n', stderr: '' })
})

void t.test('shell - wrong usage, and a server that is not there', async (t) => {
  await allRefused(
    t,
    ['shell'],
    [
      [['nbd://a', '-u', 'nbd://b', '-c', '1'], /URI/],
      [['nbd://a', '-c'], /code/]
    ],
    2
  )
  isRefusal(
    t,
    await mqnbd(t, 'shell', 'nbd+unix:///?socket=/nonexistent/s', '-c', '1'),
    1,
    /nonexistent/,
    'no server'
  )
})

void t.test(
  'shell - on a terminal it converses, remembers, and leaves in order',
  requires('script'),
  async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'my disk'], { once: true })
    const state = tempDir(t)
    const line = `exec '${process.execPath}' '${MQNBD}' shell '${server.uri}'`
    const keyboard = path.join(tempDir(t), 'keyboard')
    const script = `mkfifo "$0" && exec '${program('script')}' -qec "${line}" /dev/null <> "$0"`
    const launched = new Launched(t, 'sh', ['-c', script, keyboard], {
      XDG_STATE_HOME: state,
      TERM: 'dumb',
      NO_COLOR: '1'
    })
    // What is typed before it listens is the terminal's to interpret.
    await launched.output('stdout', /Ctrl-D ends\.[^]*> /)
    // The terminal echoes; so what is asked for must not look like the answer.
    const conversation: [typed: string, answer: RegExp][] = [
      ['const n = 2 + 3\r', /undefined/],
      ['await disk.read(0, n)\r', /<Buffer 00 00 00 00 00>/],
      ['await disk.read(0, 2 ** 40)\r', /NBDError: NBD_CMD_READ.*1048576 bytes\r?\n/],
      ['n * 111\r', /^555\r?$/m]
    ]
    for (const [typed, answer] of conversation) {
      fs.writeFileSync(keyboard, typed)
      await launched.output('stdout', answer)
    }
    fs.writeFileSync(keyboard, '\x04')
    t.equal((await launched.exit).status, 0, launched.stdout)
    t.match(launched.stdout, /disk: export 'my disk', 1 MiB/)
    t.notMatch(launched.stdout, /^ +at /m, 'no stack')
    t.equal((await server.process.exit).status, 0, 'the server ends with its last client')
    t.equal(server.process.stderr, '')
    const history = path.join(state, 'mqnbd', 'shell_history')
    t.match(fs.readFileSync(history, 'utf8'), /^n \* 111$/m)
    t.equal(fs.statSync(path.dirname(history)).mode & 0o077, 0)
  }
)
