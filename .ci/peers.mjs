// The programs that the interoperability tests run against mqnbd, and how they get onto this machine.
import { spawnSync } from 'node:child_process'
import { accessSync, constants, realpathSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { unpackedDebian } from './debian.mjs'

// Each program, and the Debian package that brings it.
const packages = {
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  nbdinfo: 'libnbd-bin',
  nbdcopy: 'libnbd-bin',
  nbdkit: 'nbdkit',
  'nbd-client': 'nbd-client',
  'nbd-server': 'nbd-server',
  fio: 'fio',
  'mkfs.ext4': 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  certtool: 'gnutls-bin',
  strace: 'strace',
  'systemd-socket-activate': 'systemd',
  // A kernel with modules that this machine's may lack: test/helpers/kernel-guest.ts boots it. Debian has it for PCs only.
  // On some processors it runs with a few lines of C in front of it.
  ...(process.arch === 'x64'
    ? { 'linux.uml': 'user-mode-linux', modprobe: 'kmod', cc: 'build-essential' }
    : {})
}

export const peers = Object.keys(packages)

/** What there is of them in a newer Debian, too: test/helpers/newer-debian.ts runs it from there. */
const newer = {
  suite: 'trixie',
  packages: ['qemu-utils', 'libnbd-bin', 'python3-libnbd', 'nbdkit', 'nbd-client', 'nbd-server']
}

/** Installs what is missing, if this is Debian and we are root. False when CI=true and something is still missing. */
export async function installPeers() {
  let missing = missingPeers()
  if (missing.length > 0 && canInstall()) aptInstall([...new Set(missing.map((peer) => packages[peer]))])
  missing = missingPeers()
  if (!(await installNewerPeers())) missing.push(`those of Debian ${newer.suite}`)
  if (missing.length === 0) return true
  const inCI = process.env.CI === 'true'
  const outcome = inCI ? 'missing' : 'the tests that need these programs are skipped'
  console.error(`mqnbd: ${outcome}: ${missing.join(' ')}`)
  return !inCI
}

async function installNewerPeers() {
  if (!canInstall()) return false
  if (!find('debootstrap')) aptInstall(['debootstrap'])
  try {
    await unpackedDebian(newer.suite, newer.packages)
    return true
  } catch (error) {
    console.error(`mqnbd: ${error.message}`)
    return false
  }
}

const missingPeers = () => peers.filter((peer) => !find(peer))

export const canInstall = () => process.getuid() === 0 && find('apt-get') !== undefined

/** Installs Debian packages; what apt-get says is shown only when it fails. */
export function aptInstall(names) {
  console.error(`mqnbd: installing ${names.join(' ')}`)
  // Another apt-get may be at work: wait for it rather than fail.
  const options = ['-q', '-y', '-o', 'DPkg::Lock::Timeout=300']
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const run = (args) =>
    spawnSync('apt-get', [...options, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const results = [run(['update']), run(['install', '--no-install-recommends', ...names])]
  if (results[1].status === 0) return
  for (const { stdout, stderr } of results) process.stderr.write(stdout + stderr)
  console.error('mqnbd: apt-get failed')
}

/** The path of a program, or undefined. The sbin folders count, though a user's PATH may lack them. */
export function find(program) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin']
  return folders.map((folder) => path.join(folder, program)).find(isExecutable)
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url) && !(await installPeers()))
  process.exit(1)
