import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { Launched, runOk } from '../helpers/launched.ts'
import { mqnbd, MQNBD } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'

const SIZE = 3 * 1024 * 1024

function image(dir: string, name: string, data = crypto.randomBytes(SIZE)): string {
  const file = path.join(dir, name)
  fs.writeFileSync(file, data)
  return file
}

/** In brackets. */
const served = (file: string, ...options: string[]): string[] => [
  '[',
  process.execPath,
  MQNBD,
  'serve',
  file,
  '-f',
  'raw',
  ...options,
  ']'
]

void t.test('activation - by mqnbd info, copy and compare', async (t) => {
  const dir = tempDir(t)
  const [source, destination] = [image(dir, 'a'), image(dir, 'b', Buffer.alloc(SIZE))]
  const asked = await mqnbd(t, 'info', '--size', '--', ...served(source))
  t.match(asked, { status: 0, stdout: `${SIZE}\n`, stderr: '' })
  const copied = await mqnbd(t, 'copy', '--', ...served(source), ...served(destination))
  t.match(copied, { status: 0, stdout: '', stderr: '' })
  const same = await mqnbd(t, 'compare', '--', ...served(source, '-r'), destination)
  t.match(same, { status: 0, stderr: '' })
})

void t.test('activation - by nbdinfo', requires('nbdinfo'), async (t) => {
  const file = image(tempDir(t), 'a')
  const command = served(file, '-D', 'passed')
  t.equal(await runOk(t, 'nbdinfo', ['--size', '--', ...command]), `${SIZE}\n`)
  const { exports } = JSON.parse(await runOk(t, 'nbdinfo', ['--json', '--', ...command])) as {
    exports: unknown[]
  }
  t.match(exports, [{ description: 'passed', 'export-size': SIZE, can_multi_conn: true }])
})

void t.test(
  'activation - by nbdcopy, at both ends, and to its standard output',
  requires('nbdcopy'),
  async (t) => {
    const dir = tempDir(t)
    const [source, destination] = [image(dir, 'a'), image(dir, 'b', Buffer.alloc(SIZE))]
    await runOk(t, 'nbdcopy', ['--', ...served(source), ...served(destination)])
    t.ok(fs.readFileSync(destination).equals(fs.readFileSync(source)))
    const printed = path.join(dir, 'c')
    const script = 'file=$1; shift; exec nbdcopy -- "$@" - > "$file"'
    await runOk(t, 'sh', ['-c', script, 'sh', printed, ...served(source)])
    t.ok(fs.readFileSync(printed).equals(fs.readFileSync(source)))
  }
)

void t.test(
  'activation - by systemd, which starts it when a client comes',
  requires('systemd-socket-activate', 'qemu-img'),
  async (t) => {
    const dir = tempDir(t)
    const [file, socket] = [image(dir, 'a'), path.join(dir, 's')]
    const other = path.join(dir, 'o')
    const command = [process.execPath, MQNBD, 'serve', file, '-f', 'raw', '-t']
    const options = ['-l', socket, '-l', other]
    const superserver = new Launched(t, program('systemd-socket-activate'), [...options, ...command])
    await waitFor('its sockets', () => fs.existsSync(socket) && fs.existsSync(other))
    for (const one of [socket, other]) {
      const uri = `nbd+unix:///?socket=${one}`
      const told = await runOk(t, 'qemu-img', ['info', '--output=json', uri])
      t.match(JSON.parse(told), { 'virtual-size': SIZE, format: 'raw' })
    }
    t.match(await superserver.end(), { status: 0 }, superserver.stderr)
  }
)
