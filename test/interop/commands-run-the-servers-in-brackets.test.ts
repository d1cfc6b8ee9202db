import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { mqnbd } from '../helpers/mqnbd.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

/** Of the server that wrote its process id there. */
const isAlive = (pidFile: string): boolean =>
  fs.existsSync(`/proc/${fs.readFileSync(pidFile, 'utf8').trim()}`)

void t.test('brackets - info asks a server that is run for it, and ended', requires('nbdkit'), async (t) => {
  const pid = path.join(tempDir(t), 'pid')
  for (const dashes of [['--'], []]) {
    const server = ['[', 'nbdkit', '-P', pid, 'memory', '3M', ']']
    t.match(await mqnbd(t, 'info', '--size', ...dashes, ...server), {
      status: 0,
      stdout: '3145728\n',
      stderr: ''
    })
    t.notOk(isAlive(pid), 'it has ended')
  }
})

void t.test('brackets - map and list', requires('nbdkit'), async (t) => {
  const mapped = await mqnbd(t, 'map', '--', '[', 'nbdkit', 'memory', '3M', ']')
  t.match(mapped, { status: 0, stdout: /^ +0 +3145728 +3 +hole,zero\n$/, stderr: '' })
  const listed = await mqnbd(t, 'list', '--', '[', 'nbdkit', '-e', 'x', 'memory', '3M', ']')
  t.match(listed, { status: 0, stderr: '' })
})

void t.test('brackets - copy runs both ends', requires('nbdkit'), async (t) => {
  const dir = tempDir(t)
  const [image, pid] = [path.join(dir, 'image'), path.join(dir, 'pid')]
  fs.writeFileSync(image, Buffer.alloc(1 << 20))
  const source = ['[', 'nbdkit', '-P', pid, 'data', '1 2 @0xfffff 3', ']']
  const copied = await mqnbd(t, 'copy', '--', ...source, '[', 'nbdkit', 'file', image, ']')
  t.match(copied, { status: 0, stdout: '', stderr: '' })
  const bytes = fs.readFileSync(image)
  t.same([bytes[0], bytes[1], bytes[2], bytes.at(-1), bytes.length], [1, 2, 0, 3, 1 << 20])
  t.notOk(isAlive(pid))
})

void t.test('brackets - compare', requires('nbdkit'), async (t) => {
  const data = (bytes: string): string[] => ['[', 'nbdkit', 'data', bytes, ']']
  const same = await mqnbd(t, 'compare', '--', ...data('1 2 @0xfffff 3'), ...data('1 2 @0xfffff 3'))
  t.match(same, { status: 0, stdout: 'Images are identical.\n', stderr: '' })
  const other = await mqnbd(t, 'compare', '--', ...data('1 2 @0xfffff 3'), ...data('1 2 @0xfffff 4'))
  t.match(other, { status: 1, stdout: /^Content mismatch at offset 10/, stderr: '' })
  const none = await mqnbd(t, 'compare', '--', ...data('1'), '[', '/no/such/program', ']')
  isRefusal(t, none, 2, /cannot run '\/no\/such\/program'/, 'a server that cannot be run is no difference')
})

void t.test('brackets - what cannot be run', async (t) => {
  const cases: [server: string[], reason: RegExp][] = [
    [['[', ']'], /no server is named/],
    [['[', '/no/such/program', 'x', ']'], /cannot run '\/no\/such\/program': no such file/]
  ]
  for (const [server, reason] of cases)
    isRefusal(t, await mqnbd(t, 'info', '--', ...server), 1, reason, server.join(' '))
})
