/**
 * A kernel of the test's own, with what the machine's may lack: NBD devices, vsock. It is User Mode Linux: Debian's
 * kernel as a program, that needs neither KVM nor an image, boots in two seconds, and runs programs at nearly their usual
 * speed. (QEMU with KVM needs hardware that a virtual machine like CI's does not have, and without KVM a command of
 * mqnbd takes seven seconds.) It has one processor.
 *
 * The guest sees the machine's files, read-only, in their places: also Node and the built mqnbd. /run is its own and
 * empty; /run/host is a folder of the test. All that it has is gone with it.
 */
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { Launched, type Ran } from './launched.ts'
import { MQNBD } from './mqnbd.ts'
import { program, requires } from './requires.ts'
import type { Scope } from './scope.ts'
import { tempDir } from './temp-dir.ts'

/** Mostly for programs; a Node process touches some 100 MB. Taken as it is used. */
const MEMORY = '1G'
const XSTATE_SOURCE = fileURLToPath(new URL('../../../test/helpers/uml-xstate.c', import.meta.url))
const BOOT_TIMEOUT_MS = 60_000
const SCRIPT_TIMEOUT_MS = 60_000

/** Options for a test that needs a guest: skipped where it cannot be, but not in CI. */
export function requiresGuest(...programs: string[]): { skip?: string } {
  // It writes to the test's folder as its own root.
  if (process.getuid!() !== 0 && process.env['CI'] !== 'true') return { skip: 'a guest needs root' }
  return requires('linux.uml', 'modprobe', 'unshare', ...(hasLargeXstate() ? ['cc'] : []), ...programs)
}

/** Whether a process of this processor has more registers than the guest's kernel knows. */
const hasLargeXstate = (): boolean => /^flags.* amx_tile /m.test(fs.readFileSync('/proc/cpuinfo', 'latin1'))

/** For linux.uml: what it needs to run here. */
function environment(folder: string): Record<string, string> {
  if (!hasLargeXstate()) return {}
  const library = path.join(folder, 'uml-xstate.so')
  execFileSync(program('cc'), ['-O2', '-Wall', '-shared', '-fPIC', '-o', library, XSTATE_SOURCE])
  return { LD_PRELOAD: library }
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/**
 * The guest's first process. It takes names of scripts from the console, runs them one after the other, and tells how
 * each has ended; what they print goes to files, since the console is also the kernel's.
 */
const init = (folder: string, modules: readonly string[]): string => `#!/bin/sh
export PATH=/run/bin:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/run TMPDIR=/run
stty raw -echo
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/bin /run/host /run/mnt /run/modules/lib
mount -t hostfs host /run/host -o ${quote(folder)}
printf '#!/bin/sh\\nexec %s %s "$@"\\n' ${quote(quote(process.execPath))} ${quote(quote(MQNBD))} >/run/bin/mqnbd
chmod +x /run/bin/mqnbd
ln -s /usr/lib/uml/modules /run/modules/lib/modules
for module in ${modules.join(' ')}; do modprobe -d /run/modules $module; done
cd /run
echo '<booted>'
while read -r name; do
  out=/run/host/$name.stdout err=/run/host/$name.stderr
  sh /run/host/$name </dev/null >$out 2>$err
  status=$?
  sync $out $err
  echo "<$name: $status>"
done
`

export class KernelGuest {
  /** The folder that the guest has as /run/host. */
  readonly folder: string
  readonly #machine: Launched
  #scripts = 0

  private constructor(folder: string, machine: Launched) {
    this.folder = folder
    this.#machine = machine
  }

  /**
   * Boots one; ended with the test.
   *
   * @param modules that it loads, with those that they need; /dev/nbd0 and /dev/nbd1 come with `nbd`
   */
  static async boot(t: Scope, modules: readonly string[]): Promise<KernelGuest> {
    const folder = tempDir(t)
    fs.writeFileSync(path.join(folder, 'init'), init(folder, modules), { mode: 0o755 })
    const kernel = [
      program('linux.uml'),
      `mem=${MEMORY}`,
      'root=/dev/root',
      'rootfstype=hostfs',
      'rootflags=/',
      'ro',
      'quiet',
      'nbd.nbds_max=2',
      `init=${folder}/init`,
      'con=null',
      'con0=fd:0,fd:1',
      `uml_dir=${folder}/uml`
    ]
    // It is several processes: those of a namespace end with its first.
    const namespace = ['--pid', '--fork', '--kill-child']
    const machine = new Launched(
      t,
      program('unshare'),
      [...namespace, ...kernel],
      environment(folder),
      [],
      'pipe'
    )
    const guest = new KernelGuest(folder, machine)
    await machine.output('stdout', /<booted>/, BOOT_TIMEOUT_MS)
    return guest
  }

  /**
   * Runs a script of sh, with `mqnbd` among its commands. What it leaves in the background must write elsewhere than to
   * the script's output.
   */
  async run(script: string, timeoutMs = SCRIPT_TIMEOUT_MS): Promise<Ran> {
    const name = `script-${++this.#scripts}`
    const file = path.join(this.folder, name)
    fs.writeFileSync(file, script)
    this.#machine.child.stdin!.write(`${name}\n`)
    const end = new RegExp(`<${name}: (\\d+)>`)
    const [, status] = await this.#machine.output('stdout', end, timeoutMs)
    const [stdout, stderr] = ['stdout', 'stderr'].map((stream) =>
      fs.readFileSync(`${file}.${stream}`, 'utf8')
    )
    return { status: Number(status), signal: null, stdout: stdout!, stderr: stderr! }
  }

  /** As `run`, up to the first command that fails, which fails the test. @returns standard output, without its last end of line */
  async runOk(script: string, timeoutMs?: number): Promise<string> {
    const { status, stdout, stderr } = await this.run(`set -e\n${script}`, timeoutMs)
    if (status === 0) return stdout.replace(/\n$/, '')
    throw new Error(`status ${status} in the guest of:\n${script}\n${stdout}${stderr}`)
  }

  /**
   * Starts `mqnbd serve ARGS`, ready to serve.
   *
   * @param args as sh reads them
   * @returns its process id in the guest; what it prints is in /run/serve-PID
   */
  serve(args: string): Promise<string> {
    return this.runOk(`
      mqnbd serve ${args} >/run/serve 2>&1 &
      until grep -q ^mqnbd: /run/serve; do sleep 0.05; done
      grep -q '^mqnbd: serving' /run/serve || { cat /run/serve; exit 1; }
      mv /run/serve /run/serve-$!
      echo $!`)
  }
}
