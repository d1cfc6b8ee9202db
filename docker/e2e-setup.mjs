// What the end-to-end test stands on: Docker Engine, and base images made on this machine, since no container
// registry need be reachable.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { installedDebian } from '../.ci/debian.mjs'
import { cacheFolder, nodeBinary } from '../.ci/node.mjs'
import { aptInstall, canInstall, find } from '../.ci/peers.mjs'

const root = path.join(import.meta.dirname, '..')

// Program: package.
const needed = {
  docker: 'docker.io',
  dockerd: 'docker.io',
  'docker-compose': 'docker-compose',
  iptables: 'iptables',
  ip: 'iproute2',
  debootstrap: 'debootstrap',
  'mkfs.ext4': 'e2fsprogs',
  nbdinfo: 'libnbd-bin'
}

export function installPackages() {
  const missing = () => Object.keys(needed).filter((program) => !find(program))
  if (missing().length > 0 && canInstall())
    aptInstall([...new Set(missing().map((program) => needed[program]))])
  // Newer Debian has the client in a package of its own.
  if (!find('docker') && canInstall()) aptInstall(['docker-cli'])
  if (missing().length > 0) throw new Error(`missing: ${missing().join(' ')}`)
}

/** Runs a program to its end and returns what it wrote to stdout; anything but exit status 0 is an error. */
export async function run(command, args, { timeout = 120_000, ...options } = {}) {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
    killSignal: 'SIGKILL',
    ...options
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'])
    child[name].setEncoding('utf8').on('data', (text) => (output[name] += text))
  const ended = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ?? code))
  })
  if (ended === 0) return output.stdout.trim()
  const tail = `${output.stdout}${output.stderr}`.trim().split('\n').slice(-30).join('\n')
  throw new Error(`${path.basename(command)} ${args.join(' ')}: ${ended}\n${tail}`)
}

/** Docker Engine: the one that answers, or else one of our own, that leaves nothing behind. */
export async function startEngine(temp) {
  const env = { ...process.env, DOCKER_CONFIG: path.join(temp, 'docker-config'), DOCKER_BUILDKIT: '0' }
  if (await answers(env)) return { env, onHost: [], stop: async () => {} }
  return await startDockerd(temp, { ...env, DOCKER_HOST: `unix://${temp}/docker.sock` })
}

async function startDockerd(temp, env) {
  const folder = path.join(temp, 'engine')
  const cgroup = path.basename(temp)
  fs.mkdirSync(folder)
  const log = path.join(temp, 'dockerd.log')
  const output = fs.openSync(log, 'w')
  const args = [
    '--data-root',
    `${folder}/data`,
    '--exec-root',
    `${folder}/exec`,
    '--pidfile',
    `${folder}/pid`
  ]
  args.push('-H', env.DOCKER_HOST, '--cgroup-parent', cgroup)
  // In namespaces of its own, because dockerd leaves bridges, iptables rules and mounts behind: these end with it,
  // and so do all containers, whichever way this process ends.
  const namespaces = ['--mount', '--net', '--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL']
  const script = 'ip link set lo up && exec dockerd "$@"'
  const command = ['--pdeathsig', 'KILL', 'unshare', ...namespaces, 'sh', '-c', script, 'dockerd', ...args]
  const child = spawn('setpriv', command, { stdio: ['ignore', output, output] })
  fs.closeSync(output)
  const ended = new Promise((resolve) => child.once('close', resolve))
  const pid = () => Number(fs.readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'))

  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(pid() || child.pid, 'SIGTERM')
    await Promise.race([ended, sleep(20_000, undefined, { ref: false })])
    child.kill('SIGKILL') // no more than a safety net: takes dockerd along
    await ended
    await removeCgroups(cgroup)
  }
  try {
    await until('dockerd to answer', 60_000, () => {
      if (child.exitCode !== null) throw new Error(`dockerd ended with exit status ${child.exitCode}`)
      return answers(env)
    })
  } catch (error) {
    await stop()
    const tail = fs.readFileSync(log, 'utf8').split('\n').slice(-20).join('\n')
    throw new Error(`${error.message}\n${tail}`, { cause: error })
  }
  return { env, onHost: ['nsenter', '--net', '--target', String(pid())], stop }
}

const answers = (env) =>
  run('docker', ['info'], { env, timeout: 10_000 }).then(
    () => true,
    () => false
  )

async function removeCgroups(name) {
  await run('find', [
    '/sys/fs/cgroup',
    '-depth',
    '-type',
    'd',
    '-path',
    `*/${name}*`,
    '-exec',
    'rmdir',
    '{}',
    '+'
  ]).catch(() => {})
}

/** Waits for a condition, for a bounded time. */
export async function until(what, milliseconds, condition) {
  const deadline = Date.now() + milliseconds
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`)
    await sleep(100)
  }
}

/** Makes the image `name`: Debian with the NBD clients. The tree that it is made of is kept for the next time. */
export async function importDebian(name, { env, suite = 'bookworm' }) {
  const tree = await installedDebian(suite, ['qemu-utils', 'libnbd-bin'])
  await importTar(name, ['-C', tree, '.'], { env })
  return tree
}

/**
 * Makes the image `name`, a stand-in for the official Node image: Debian with Node, npm, and an npm cache from which
 * `npm ci` works without any network.
 */
export async function importNode(name, tree, { env, temp }) {
  const extra = path.join(temp, 'node-image')
  const add = (source, target) => fs.cpSync(source, path.join(extra, target), { recursive: true })
  add(nodeBinary(22), 'usr/local/bin/node')
  add(path.join(path.dirname(fs.realpathSync(find('npm'))), '..'), 'usr/local/lib/node_modules/npm')
  add(await npmCache(temp), 'var/cache/npm')
  fs.symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', path.join(extra, 'usr/local/bin/npm'))
  // Docker takes no path twice: these are the ones that the tree has not.
  const added = ['usr/local/bin/node', 'usr/local/bin/npm', 'usr/local/lib/node_modules', 'var/cache/npm']
  // The registry's address is part of the cache's keys.
  const registry = await run('npm', ['config', 'get', 'registry'], { cwd: root })
  const variables = `npm_config_cache=/var/cache/npm npm_config_offline=true npm_config_registry=${registry}`
  await importTar(name, ['-C', tree, '.', '-C', extra, ...added], { env, change: `ENV ${variables}` })
}

async function importTar(name, what, { env, change = 'ENV LANG=C.UTF-8' }) {
  const quote = (words) => words.map((word) => `'${word}'`).join(' ')
  const load = ['docker', 'import', '--change', change, '-', name]
  await run(
    'bash',
    ['-o', 'pipefail', '-c', `${quote(['tar', '--numeric-owner', '-c', ...what])} | ${quote(load)}`],
    { env }
  )
}

async function npmCache(temp) {
  const lock = fs.readFileSync(path.join(root, 'package-lock.json'))
  const cache = path.join(cacheFolder, `npm-${createHash('sha256').update(lock).digest('hex').slice(0, 16)}`)
  if (fs.existsSync(cache)) return cache
  const partial = fs.mkdtempSync(`${cache}.`)
  const project = path.join(temp, 'npm-project')
  fs.mkdirSync(project)
  for (const file of ['package.json', 'package-lock.json'])
    fs.copyFileSync(path.join(root, file), path.join(project, file))
  try {
    const options = ['--cache', partial, '--ignore-scripts', '--include=dev', '--no-audit', '--no-fund']
    await run('npm', ['ci', ...options], { cwd: project, timeout: 300_000 })
    // Caches for other lock files are of no more use.
    for (const file of fs.readdirSync(cacheFolder)) {
      if (/^npm-[0-9a-f]{16}$/.test(file)) fs.rmSync(path.join(cacheFolder, file), { recursive: true })
    }
    fs.renameSync(partial, cache)
  } finally {
    fs.rmSync(partial, { recursive: true, force: true })
  }
  return cache
}
