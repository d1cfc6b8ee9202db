import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('socket path - behind which a server lives: refused, and that one lives on', async (t) => {
  const first = await Mqnbd.serve(t, ['memory:1M'])
  const second = await mqnbd(t, 'serve', 'memory:1M', '-k', first.socket!)
  isRefusal(t, second, 1, /cannot listen on '.*': another server is listening there/, 'live server')
  await t.resolves(RawClient.transmit(t, first))
})

void t.test('socket path - with a dead server behind it: replaced', async (t) => {
  const killed = await Mqnbd.serve(t, ['memory:1M'])
  await killed.process.end('SIGKILL')
  t.ok(fs.existsSync(killed.socket!), 'the dead one has left its socket')
  const server = await Mqnbd.serve(t, ['memory:1M', '-k', killed.socket!])
  await t.resolves(RawClient.transmit(t, server))
  await server.process.end()
  t.notOk(fs.existsSync(killed.socket!), 'and the new one leaves none')
})

void t.test('socket path - of something that is no socket: refused, and kept', async (t) => {
  const folder = tempDir(t)
  const file = path.join(folder, 'file')
  fs.writeFileSync(file, 'precious')
  fs.symlinkSync(file, path.join(folder, 'link'))
  for (const name of ['file', 'link', '.']) {
    const refused = await mqnbd(t, 'serve', 'memory:1M', '-k', path.join(folder, name))
    isRefusal(t, refused, 1, /it exists and is not a socket/, name)
  }
  t.equal(fs.readFileSync(file, 'utf8'), 'precious')
  t.ok(fs.lstatSync(path.join(folder, 'link')).isSymbolicLink())
})

void t.test('socket path - as long as can be, and longer', async (t) => {
  const folder = tempDir(t)
  const longest = path.join(folder, 'x'.repeat(107 - folder.length - 1))
  const server = await Mqnbd.serve(t, ['memory:1M', '-k', longest])
  await t.resolves(RawClient.transmit(t, server))
  const refused = await mqnbd(t, 'serve', 'memory:1M', '-k', `${longest}x`)
  isRefusal(t, refused, 1, /at most 107 bytes/, '108 bytes')
  t.same(fs.readdirSync(folder), [path.basename(longest)], 'nothing was made under a shortened name')
})

void t.test('socket path - in a folder that does not exist', async (t) => {
  const refused = await mqnbd(t, 'serve', 'memory:1M', '-k', path.join(tempDir(t), 'no', 's'))
  isRefusal(t, refused, 1, /cannot listen on '.*': .*no such/, 'no folder')
})

void t.test('socket path - relative: the URI has all of it', async (t) => {
  const folder = tempDir(t)
  const socket = path.relative(process.cwd(), path.join(folder, 's'))
  const server = await Mqnbd.serve(t, ['memory:1M', '-k', socket])
  t.equal(server.uri, `nbd+unix:///?socket=${path.join(fs.realpathSync(folder), 's')}`)
})
