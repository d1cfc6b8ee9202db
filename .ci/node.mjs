// Prints the path of a Node binary of the given major version: node .ci/node.mjs 22
// It comes from an npm package that carries nothing else, and is kept outside the checkout.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export const cacheFolder = path.join(process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'mqnbd')

export function nodeBinary(major) {
  const folder = path.join(cacheFolder, `node-${major}`)
  const name = `node-linux-${process.arch}`
  if (!existsSync(folder)) {
    console.error(`mqnbd: fetching Node ${major}`)
    install(`${name}@${major}`, folder)
  }
  return path.join(folder, 'node_modules', name, 'bin', 'node')
}

// Into a folder of its own first, so that a broken or concurrent download is never taken for a good one.
function install(spec, folder) {
  mkdirSync(cacheFolder, { recursive: true })
  const partial = mkdtempSync(`${folder}.`)
  try {
    const options = [
      '--prefix',
      partial,
      '--ignore-scripts',
      '--no-save',
      '--no-audit',
      '--no-fund',
      '--silent'
    ]
    execFileSync('npm', ['install', ...options, spec], { stdio: ['ignore', 2, 2] })
    if (!existsSync(folder)) renameSync(partial, folder)
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}

if (process.argv[1] === import.meta.filename) console.log(nodeBinary(process.argv[2]))
