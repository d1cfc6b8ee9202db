/** `@vates/nbd-client`, another client for Node: taken from npm for the benchmark, and kept outside the checkout. */
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import os from 'node:os'
import * as path from 'node:path'

const NAME = '@vates/nbd-client'
const VERSION = '3.6.0'

export const VATES_CLIENT = `${NAME} ${VERSION}`

/**
 * All that its client imports. Of what it depends on besides, for other parts of it, not every version that it asks for can
 * be had; so the package is unpacked beside these instead of being installed.
 */
const IMPORTED = ['@vates/read-chunk@1.2.1', '@xen-orchestra/log@0.7.2', 'promise-toolbox@0.21.0']

const cacheFolder = path.join(process.env['XDG_CACHE_HOME'] || path.join(os.homedir(), '.cache'), 'mqnbd')

/** How long npm and tar may take, each. */
const TIMEOUT_MS = 60_000

/** @returns the module's file @throws Error when npm cannot get it */
export function fetchVatesClient(): string {
  const folder = path.join(cacheFolder, `vates-nbd-client-${VERSION}`)
  if (!fs.existsSync(folder)) fetchInto(folder)
  return path.join(folder, 'node_modules', NAME, 'index.mjs')
}

/** Into a folder of its own first, so that a broken or concurrent download is never taken for a good one. */
function fetchInto(folder: string): void {
  fs.mkdirSync(cacheFolder, { recursive: true })
  const partial = fs.mkdtempSync(`${folder}.`)
  try {
    const run = (command: string, ...args: string[]): string =>
      execFileSync(command, args, {
        cwd: partial,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: TIMEOUT_MS
      })
    const quiet = ['--ignore-scripts', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']
    run('npm', 'install', '--prefix', partial, ...quiet, ...IMPORTED)
    const tarball = run('npm', 'pack', '--ignore-scripts', '--loglevel=error', `${NAME}@${VERSION}`).trim()
    const into = path.join(partial, 'node_modules', NAME)
    fs.mkdirSync(into, { recursive: true })
    run('tar', '-xzf', tarball, '--strip-components=1', '-C', into)
    if (!fs.existsSync(folder)) fs.renameSync(partial, folder)
  } finally {
    fs.rmSync(partial, { recursive: true, force: true })
  }
}
