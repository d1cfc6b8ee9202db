import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import { isRefusal } from '../helpers/command-line.ts'
import { Launched } from '../helpers/launched.ts'
import { MQNBD } from '../helpers/mqnbd.ts'
import { launchWith, passedTcp, passedUnix } from '../helpers/passed-sockets.ts'
import { socketPair } from '../helpers/socket-pair.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const SERVE = ['serve', 'memory:1M']

async function isServed(t: Test, uri: string, what: string): Promise<void> {
  const disk = await connect(uri)
  t.equal(disk.size, 1024 * 1024, what)
  await disk.close()
}

void t.test('activation - all sockets are served, and nothing is printed', async (t) => {
  const file = path.join(tempDir(t), 's')
  const [unix, tcp] = [passedUnix(file), await passedTcp()]
  const server = launchWith(t, [unix.fd, tcp.fd], [...SERVE, '-t'])
  for (const { close } of [unix, tcp]) close()
  await isServed(t, `nbd://127.0.0.1:${tcp.port}`, 'TCP')
  await isServed(t, `nbd+unix:///?socket=${file}`, 'Unix')
  t.match(await server.end(), { status: 0, signal: null })
  t.equal(server.stdout + server.stderr, '')
  t.ok(fs.existsSync(file), "the socket's file is left to whoever has made it")
})

void t.test('activation - without -t it ends with its last client', async (t) => {
  const file = path.join(tempDir(t), 's')
  const unix = passedUnix(file)
  const server = launchWith(t, [unix.fd], SERVE)
  unix.close()
  await isServed(t, `nbd+unix:///?socket=${file}`, 'Unix')
  t.match(await server.exit, { status: 0 })
})

void t.test('activation - sockets of another process are none of ours', async (t) => {
  const dir = tempDir(t)
  const unix = passedUnix(path.join(dir, 'other'))
  t.teardown(() => unix.close())
  const env = { LISTEN_FDS: '1', LISTEN_PID: String(process.pid) }
  const args = [MQNBD, ...SERVE, '-t', '-k', path.join(dir, 'own')]
  const server = new Launched(t, process.execPath, args, env, [unix.fd])
  const [, uri] = await server.output('stdout', /^mqnbd: serving .* at (nbd\S+)\n/m)
  await isServed(t, uri!, 'where the command line says')
  await server.end()
})

void t.test('activation - what cannot be', async (t) => {
  const dir = tempDir(t)
  const unix = passedUnix(path.join(dir, 's'))
  const pair = socketPair()
  const file = fs.openSync(path.join(dir, 'file'), 'w')
  t.teardown(() => {
    unix.close()
    pair.forEach(closeFd)
    fs.closeSync(file)
  })
  const refused = async (
    fds: number[],
    args: string[],
    env: Record<string, string>,
    status: number,
    reason: RegExp
  ): Promise<void> => {
    const server = launchWith(t, fds, [...SERVE, ...args], env)
    const exit = await server.exit
    isRefusal(t, { ...exit, stdout: server.stdout, stderr: server.stderr }, status, reason, reason.source)
  }
  await Promise.all([
    refused([unix.fd], ['-k', path.join(dir, 'k')], {}, 2, /--socket cannot be given.*LISTEN_FDS/),
    refused([unix.fd], ['-p', '10809'], {}, 2, /--port cannot be given.*LISTEN_FDS/),
    refused([unix.fd], ['-b', 'localhost'], {}, 2, /--bind cannot be given.*LISTEN_FDS/),
    refused([unix.fd], ['--fork'], {}, 2, /--fork cannot be given.*LISTEN_FDS/)
  ])
  await Promise.all([
    refused([unix.fd, file], [], {}, 1, /descriptor 4 is not a listening TCP or Unix socket/),
    refused([pair[0]], [], {}, 1, /descriptor 3 is not a listening TCP or Unix socket/),
    refused([unix.fd], [], { LISTEN_FDS: 'two' }, 1, /LISTEN_FDS: 'two' is not a number of sockets/)
  ])
})
