/** Where the programs of others are, and which versions. */
import { spawnSync } from 'node:child_process'
import { newerCommand, requiresNewer, sharedFolder, type SharedFolder } from '../../helpers/newer-debian.ts'
import { findProgram, program } from '../../helpers/requires.ts'
import type { Scope } from '../../helpers/scope.ts'
import { tempDir } from '../../helpers/temp-dir.ts'

export interface Peers {
  name: 'installed' | 'debian-13'
  has: (name: string) => boolean
  /** A command line that runs a program of this set, with its own process id. */
  command: (name: string, args: string[]) => string[]
  /** An empty folder for what is shared with them, removed with the scope. */
  folder: (scope: Scope) => SharedFolder
}

/** Those of this machine. */
const installed: Peers = {
  name: 'installed',
  has: (name) => findProgram(name) !== undefined,
  command: (name, args) => [program(name), ...args],
  folder: (scope) => {
    const folder = tempDir(scope)
    return { outside: folder, inside: folder }
  }
}

/** Those of Debian 13, beside them. */
const debian13: Peers = {
  name: 'debian-13',
  has: (name) => requiresNewer(name).skip === undefined,
  command: (name, args) => newerCommand(name, args).flat(),
  folder: sharedFolder
}

const SERVERS = ['qemu-nbd', 'nbdkit', 'nbd-server']

/** @param name the newest that are there, if not given */
export function choosePeers(name: Peers['name'] | undefined): Peers {
  if (name !== undefined) return name === 'installed' ? installed : debian13
  return SERVERS.every(debian13.has) ? debian13 : installed
}

/** As the program tells it. */
export const versionOf = (name: string, peers = installed): string => {
  const [command, ...args] = peers.command(name, [name === 'nbd-server' ? '-V' : '--version'])
  const { stdout, stderr } = spawnSync(command!, args, { encoding: 'utf8' })
  return /\d+\.\d[\w.]*/.exec(stdout + stderr)?.[0] ?? 'unknown'
}
