import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd, mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'

const node = (name: string, size: string): string[] => [
  '--blockdev',
  `driver=memory,node-name=${name},size=${size}`
]

void t.test('list - a line for each export', requires('nbd-client'), async (t) => {
  const server = await Mqnbd.serve(t, [
    ...[...node('a', '3M'), ...node('b', '1000')],
    ...['--export', 'nbd,id=e0,node-name=a,name=eine Ä,description=the first'],
    ...['--export', 'nbd,id=e1,node-name=b']
  ])
  const uri = `nbd+unix:///?socket=${server.socket!}`
  t.match(await mqnbd(t, 'list', uri), {
    status: 0,
    stdout: 'eine Ä\t3145728\tthe first\nb\t1000\n',
    stderr: ''
  })
  t.strictSame(JSON.parse((await mqnbd(t, 'list', '--json', uri)).stdout), [
    { 'export-name': 'eine Ä', description: 'the first', 'export-size': 3145728 },
    { 'export-name': 'b', 'export-size': 1000 }
  ])
  const theirs = await runOk(t, program('nbd-client'), ['-l', '-unix', server.socket!])
  t.match(theirs, /^eine Ä: the first\nb$/m, 'nbd-client lists the same')
})

void t.test('list - what cannot be listed', requires('nbdkit'), async (t) => {
  const { uri } = await Nbdkit.serve(t, ['--oldstyle', 'null', '1M'])
  isRefusal(
    t,
    await mqnbd(t, 'list', uri),
    1,
    /the server does not list its exports: its handshake, oldstyle/,
    uri
  )
  isRefusal(t, await mqnbd(t, 'list'), 2, /list: which URI\?/, 'no URI')
  isRefusal(t, await mqnbd(t, 'list', 'nbd://?x'), 1, /cannot be used as an NBD URI/, 'no such URI')
})
