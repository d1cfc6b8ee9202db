import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('pid file - is there when the server is ready, and gone when it has ended', async (t) => {
  const file = path.join(tempDir(t), 'pid')
  const server = await Mqnbd.serve(t, ['memory:1M', '--pid-file', file])
  t.equal(fs.readFileSync(file, 'utf8'), `${server.process.pid}\n`)
  await server.process.end()
  t.notOk(fs.existsSync(file))
})

void t.test('pid file - of a dead server is replaced', async (t) => {
  const file = path.join(tempDir(t), 'pid')
  const killed = await Mqnbd.serve(t, ['memory:1M', '--pid-file', file])
  await killed.process.end('SIGKILL')
  const server = await Mqnbd.serve(t, ['memory:1M', '--pid-file', file])
  t.equal(fs.readFileSync(file, 'utf8'), `${server.process.pid}\n`)
})

void t.test('pid file - that another server has taken over stays', async (t) => {
  const file = path.join(tempDir(t), 'pid')
  const first = await Mqnbd.serve(t, ['memory:1M', '--pid-file', file])
  const second = await Mqnbd.serve(t, ['memory:1M', '--pid-file', file])
  await first.process.end()
  t.equal(fs.readFileSync(file, 'utf8'), `${second.process.pid}\n`)
})

void t.test('pid file - that cannot be written: status 1, and nothing is left', async (t) => {
  const folder = tempDir(t)
  const socket = path.join(folder, 's')
  const refused = await mqnbd(
    t,
    'serve',
    'memory:1M',
    '-k',
    socket,
    '--pid-file',
    path.join(folder, 'no', 'pid')
  )
  isRefusal(t, refused, 1, /cannot write the pid file '.*': no such file or directory/, 'no folder')
  t.same(fs.readdirSync(folder), [])
})

void t.test('pid file - of a server that cannot start is not written', async (t) => {
  const folder = tempDir(t)
  const first = await Mqnbd.serve(t, ['memory:1M', '-k', path.join(folder, 's')])
  const second = await mqnbd(
    t,
    'serve',
    'memory:1M',
    '-k',
    first.socket!,
    '--pid-file',
    path.join(folder, 'pid')
  )
  t.equal(second.status, 1)
  t.same(fs.readdirSync(folder), ['s'])
})
