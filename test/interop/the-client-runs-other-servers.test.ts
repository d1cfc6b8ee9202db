import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect, type ConnectTarget } from '../../client/index.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { Launched } from '../helpers/launched.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const SIZE = 8 * MiB
const CLIENT = new URL('../../client/index.js', import.meta.url).href
const { ENOENT } = os.constants.errno

const isAlive = (pid: number): boolean => fs.existsSync(`/proc/${pid}`)
const pidIn = (file: string): number => Number(fs.readFileSync(file, 'utf8'))

/** How each is run, so that it writes its process id. */
const servers: Record<string, { needs: string; target: (t: Test, pidFile: string) => ConnectTarget }> = {
  'nbdkit, by socket activation': {
    needs: 'nbdkit',
    target: (_, pidFile) => ({ command: ['nbdkit', '-P', pidFile, 'memory', '8M'] })
  },
  'qemu-nbd, by socket activation': {
    needs: 'qemu-nbd',
    target: (t, pidFile) => ({
      command: ['qemu-nbd', `--pid-file=${pidFile}`, '-t', '-f', 'raw', emptyImage(t, SIZE)]
    })
  },
  'nbdkit on its standard input and output': {
    needs: 'nbdkit',
    target: (_, pidFile) => ({ command: ['nbdkit', '-s', '-P', pidFile, 'memory', '8M'], stdio: true })
  }
}

for (const [name, { needs, target }] of Object.entries(servers)) {
  void t.test(`command - ${name}`, requires(needs), async (t) => {
    const pidFile = path.join(tempDir(t), 'pid')
    const disk = await connect(target(t, pidFile))
    t.equal(disk.size, SIZE)
    const data = crypto.randomBytes(MiB)
    await disk.write(12345, data)
    t.ok(data.equals(await disk.read(12345, MiB)))
    const pid = pidIn(pidFile)
    t.ok(isAlive(pid))
    await disk.close()
    t.notOk(isAlive(pid), 'it has ended')
    await disk.close()
  })
}

void t.test('command - the program ends with whoever runs it', requires('nbdkit'), async (t) => {
  const pidFile = path.join(tempDir(t), 'pid')
  for (const stdio of [false, true]) {
    const command = ['nbdkit', ...(stdio ? ['-s'] : []), '-P', pidFile, 'memory', '1M']
    const script = `
      import { connect } from '${CLIENT}'
      await connect(${JSON.stringify({ command, stdio })})
      console.log('connected')`
    // What a killed process leaves goes with the test.
    const env = { TMPDIR: tempDir(t) }
    const user = new Launched(t, process.execPath, ['--input-type=module', '-e', script], env)
    await user.output('stdout', /^connected\n/)
    const pid = pidIn(pidFile)
    t.ok(isAlive(pid))
    await user.end('SIGKILL')
    await waitFor('the program to end', () => !isAlive(pid))
  }
})

void t.test('command - what cannot be run, or ends, is told', async (t) => {
  const folder = tempDir(t)
  const TMPDIR = process.env['TMPDIR']
  process.env['TMPDIR'] = folder
  t.teardown(() => {
    if (TMPDIR === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = TMPDIR
  })
  for (const stdio of [false, true]) {
    const missing = await failureOf(connect({ command: ['/no/such/program', 'x'], stdio }))
    t.equal(missing.kind, 'transport')
    t.equal(missing.errno, ENOENT)
    t.match(
      missing.message,
      /^cannot open '\[ \/no\/such\/program x \]': .*\/no\/such\/program.*: no such file/
    )
    const ended: [command: string[], why: RegExp][] = [
      [['false'], /^cannot open '\[ false \]': the program has ended, with status 1: /],
      [['sh', '-c', 'exit 7'], /the program has ended, with status 7: /],
      [['sh', '-c', 'kill -KILL $$'], /the program was ended by SIGKILL: /]
    ]
    for (const [command, why] of ended) {
      const failure = await within(command.join(' '), failureOf(connect({ command, stdio })))
      t.equal(failure.kind, 'transport')
      t.match(failure.message, why)
    }
  }
  t.equal((await failureOf(connect({ command: [] }))).kind, 'config')
  t.strictSame(fs.readdirSync(folder), [], 'no socket is left')
})

void t.test('command - one that does not serve is ended', async (t) => {
  const pidFile = path.join(tempDir(t), 'pid')
  const command = ['sh', '-c', `echo $$ > '${pidFile}'; exec sleep 1000`]
  const opened = connect({ command }, { handshakeTimeoutMs: 500 })
  const { kind, message } = await within('an error', failureOf(opened))
  t.equal(kind, 'transport')
  t.match(message, /the handshake did not end within 500 ms$/)
  t.notOk(isAlive(await waitFor('the program to have begun', () => pidIn(pidFile) || undefined)))
})
