/**
 * Peers of Debian 13, beside those of the system: QEMU 10, libnbd 1.22 (with nbdsh), nbdkit 1.42, nbd 3.26. They are in
 * a tree of their own (.ci/peers.mjs makes it) and run there by chroot, so that they see no other files than the tree's:
 * what is shared with them, sockets too, lies in a folder of the tree.
 */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import type { Test } from 'tap'
import { canConnect } from './can-connect.ts'
import { Launched, run, runOk, type Ran } from './launched.ts'
import type { Scope } from './scope.ts'
import { tempDir } from './temp-dir.ts'
import { waitFor } from './wait-for.ts'

const cache = process.env['XDG_CACHE_HOME'] || path.join(os.homedir(), '.cache')
/** As .ci/debian.mjs names it. */
const TREE = path.join(cache, 'mqnbd', 'debian-trixie-unpacked')

const pathInTree = (name: string): string | undefined =>
  ['/usr/bin', '/usr/sbin']
    .map((folder) => path.join(folder, name))
    .find((file) => fs.existsSync(path.join(TREE, file)))

/** As `requires`, for programs of Debian 13: a test that needs them is skipped where they are not, but not in CI. */
export function requiresNewer(...programs: string[]): { skip?: string } {
  if (process.env['CI'] === 'true') return {}
  const why = (names: string[], reason: string): { skip?: string } =>
    names.length === 0 ? {} : { skip: `missing peer: ${names.join(', ')} of Debian 13: ${reason}` }
  if (process.getuid!() !== 0) return why(programs, 'chroot needs root')
  return why(
    programs.filter((name) => pathInTree(name) === undefined),
    `not in ${TREE}`
  )
}

/** A folder that we and the programs of Debian 13 see. */
export interface SharedFolder {
  /** Its path for us: short enough for a Unix socket in it. */
  outside: string
  /** Its path for them. */
  inside: string
}

/** An empty one, removed with the test. */
export function sharedFolder(t: Scope): SharedFolder {
  const folder = fs.mkdtempSync(path.join(TREE, 'tmp', 'mqnbd-'))
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }))
  const outside = path.join(tempDir(t), 'shared')
  fs.symlinkSync(folder, outside)
  return { outside, inside: path.join('/tmp', path.basename(folder)) }
}

/** What to execute for a program of Debian 13; chroot becomes the program, so the process id is the program's. */
export function newerCommand(name: string, args: string[]): [command: string, args: string[]] {
  const file = pathInTree(name)
  if (file === undefined) throw new Error(`${name} is not in ${TREE}`)
  return ['chroot', [TREE, file, ...args]]
}

/** Runs one to its end. */
export const runNewer = (t: Test, name: string, args: string[], timeoutMs?: number): Promise<Ran> =>
  run(t, ...newerCommand(name, args), timeoutMs)

/** As `runNewer`; a status other than 0 fails the test. @returns its standard output */
export const runNewerOk = (t: Test, name: string, args: string[], timeoutMs?: number): Promise<string> =>
  runOk(t, ...newerCommand(name, args), timeoutMs)

export interface NewerServer {
  process: Launched
  /** Its Unix socket, for us. */
  socket: string
  uri: string
  /** For other programs of Debian 13. */
  uriInside: string
  folder: SharedFolder
}

/**
 * A server of Debian 13, ready to serve; ended with the test.
 *
 * @param args how it is to serve on the socket `s` of the folder, in the foreground; it must bear a client that leaves
 *   at once
 */
export async function serveNewer(
  t: Test,
  name: string,
  args: (folder: SharedFolder) => string[]
): Promise<NewerServer> {
  const folder = sharedFolder(t)
  const launched = new Launched(t, ...newerCommand(name, args(folder)))
  const socket = path.join(folder.outside, 's')
  await waitFor(`${name} to listen`, () => {
    if (launched.ended) throw new Error(`${name} has ended: ${launched.stdout}${launched.stderr}`)
    return canConnect(socket)
  })
  const [uri, uriInside] = [socket, `${folder.inside}/s`].map((path) => `nbd+unix:///?socket=${path}`)
  return { process: launched, socket, uri: uri!, uriInside: uriInside!, folder }
}

/** `nbdkit ARGS` */
export const serveNewerNbdkit = (t: Test, args: string[]): Promise<NewerServer> =>
  serveNewer(t, 'nbdkit', ({ inside }) => ['-f', '-U', `${inside}/s`, ...args])

/** `qemu-nbd ARGS -f raw IMAGE`, with an empty image of `size` bytes. */
export const serveNewerQemuNbd = (t: Test, size: number, args: string[] = []): Promise<NewerServer> =>
  serveNewer(t, 'qemu-nbd', ({ inside, outside }) => {
    fs.writeFileSync(path.join(outside, 'image'), '')
    fs.truncateSync(path.join(outside, 'image'), size)
    return ['-t', '-k', `${inside}/s`, ...args, '-f', 'raw', `${inside}/image`]
  })
