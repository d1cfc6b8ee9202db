/** `mqnbd serve --fork`. */
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { allRefused } from '../helpers/command-line.ts'
import { Launched, runOk } from '../helpers/launched.ts'
import { mqnbd, MQNBD } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

/** Also not waiting for somebody to ask for its status. */
const isAlive = (pid: number): boolean => {
  try {
    return !/^\d+ \(.*\) Z/.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

const gone = (pid: number): Promise<boolean> => waitFor('the end of the server', () => !isAlive(pid))

interface InBackground {
  pid: number
  uri: string
  stdout: string
}

/** The command has ended when this returns, and whoever reads its output has seen the end of that. */
async function serve(t: Test, ...args: string[]): Promise<InBackground> {
  const folder = tempDir(t)
  const [socket, pidFile] = [path.join(folder, 's'), path.join(folder, 'pid')]
  const ran = await mqnbd(t, 'serve', 'memory:1M', '--fork', '-k', socket, '--pid-file', pidFile, ...args)
  const pid = Number(fs.readFileSync(pidFile, 'utf8'))
  t.teardown(() => isAlive(pid) && process.kill(pid, 'SIGKILL'))
  t.equal(ran.status, 0)
  t.equal(ran.stderr, '')
  return { pid, uri: `nbd+unix:///?socket=${socket}`, stdout: ran.stdout }
}

void t.test('--fork - the command ends when the server is ready, which goes on', async (t) => {
  const { pid, uri, stdout } = await serve(t, '-t')
  t.match(stdout, /^mqnbd: serving 'memory:1M' .* at nbd\+unix:.*\n$/)
  for (let i = 0; i < 2; i++) {
    const disk = await connect(uri)
    await disk.write(0, Buffer.alloc(512, 1))
    await disk.close()
  }
  t.equal(fs.readlinkSync(`/proc/${pid}/fd/1`), '/dev/null')
  t.equal(fs.readlinkSync(`/proc/${pid}/fd/2`), '/dev/null')
  const [, session] = /^\d+ \(.*\) \w \d+ \d+ (\d+) /.exec(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))!
  t.equal(Number(session), pid, 'Ctrl-C in the terminal is not for it')
  process.kill(pid, 'SIGTERM')
  await gone(pid)
})

void t.test('--fork - with -v it goes on telling what clients do', async (t) => {
  const folder = tempDir(t)
  const [socket, pidFile, log] = ['s', 'pid', 'log'].map((name) => path.join(folder, name))
  const args = ['serve', 'memory:1M', '--fork', '-v', '-k', socket!, '--pid-file', pidFile!]
  await runOk(t, 'sh', ['-c', `exec "$0" "$@" 2>"${log!}"`, process.execPath, MQNBD, ...args])
  const pid = Number(fs.readFileSync(pidFile!, 'utf8'))
  t.teardown(() => isAlive(pid) && process.kill(pid, 'SIGKILL'))
  const disk = await connect(`nbd+unix:///?socket=${socket!}`)
  await disk.close()
  await gone(pid)
  t.match(fs.readFileSync(log!, 'utf8'), /client connected[^]*client disconnected/)
})

void t.test('--fork - without -t the server ends with its last client', async (t) => {
  const { pid, uri } = await serve(t)
  const disk = await connect(uri)
  await disk.close()
  await gone(pid)
})

void t.test('--fork - a server that cannot start says why, by the command', async (t) => {
  const folder = tempDir(t)
  await allRefused(
    t,
    ['serve', '--fork', '-k', path.join(folder, 's')],
    [
      [['/no/such/image'], /'\/no\/such\/image'.*no such file/],
      [['memory:1M', '--shared', 'many'], /--shared: 'many'/],
      [['memory:1M', '--pid-file', path.join(folder, 'no', 'pid')], /cannot write the pid file/]
    ],
    1
  )
  t.same(fs.readdirSync(folder), [])
})

/** A command whose server is not ready, and will not be. */
async function waiting(t: Test): Promise<{ command: Launched; pid: number }> {
  const folder = tempDir(t)
  const socket = path.join(folder, 'silent')
  const silent = net.createServer().listen(socket)
  t.teardown(() => silent.close())
  const connected = new Promise<void>((resolve) => silent.once('connection', () => resolve()))
  const origin = `nbd+unix:///?socket=${socket}`
  const args = [MQNBD, 'serve', origin, '--fork', '-k', path.join(folder, 's')]
  const command = new Launched(t, process.execPath, args)
  await within('the server', connected)
  const children = fs.readFileSync(`/proc/${command.pid}/task/${command.pid}/children`, 'utf8')
  const pid = Number(children.trim())
  t.ok(isAlive(pid))
  t.teardown(() => isAlive(pid) && process.kill(pid, 'SIGKILL'))
  return { command, pid }
}

void t.test('--fork - who gives up waiting leaves no server behind', async (t) => {
  const { command, pid } = await waiting(t)
  command.child.kill('SIGINT')
  await command.exit
  await gone(pid)
})

void t.test('--fork - a server that is killed before it is ready', async (t) => {
  const { command, pid } = await waiting(t)
  process.kill(pid, 'SIGKILL')
  t.match(await command.exit, { status: 1 })
  t.equal(command.stderr, 'mqnbd: --fork: SIGKILL has ended the server\n')
})
