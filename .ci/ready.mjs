// Makes a checkout ready to run: dependencies as in package-lock.json, dist as in the sources.
// Silent and quick when nothing has changed, so that `npm start` and `npm test` can always go through it.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { connect, createServer } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const dist = path.join(root, 'dist')
const buildInfo = path.join(dist, '.tsbuildinfo')
// Both stamps live in node_modules: nothing is packed from there, and `npm ci` empties it, which is a reason to
// build again anyway.
const installStamp = path.join(root, 'node_modules', '.mqnbd-installed')
const buildStamp = path.join(root, 'node_modules', '.mqnbd-built')

class Stop extends Error {}

export async function ready() {
  checkNode()
  if (upToDate()) return
  const lock = await takeLock()
  try {
    // Asked again, since whoever held the lock before us has probably done the work.
    if (!installed()) install()
    if (!built()) build()
  } finally {
    lock.close()
  }
}

function checkNode() {
  const wanted = /(\d+)\.(\d+)/.exec(JSON.parse(read(path.join(root, 'package.json'))).engines.node)
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > +wanted[1] || (major === +wanted[1] && minor >= +wanted[2])) return
  throw new Stop(`needs Node ${wanted[0]} or newer: this is ${process.version}`)
}

const upToDate = () => installed() && built()
const installed = () => read(installStamp) === lockHash()
const built = () => read(buildStamp) === buildHash() && missingOutputs().length === 0

function install() {
  say('installing dependencies')
  // No install script needs to run, and NODE_ENV=production must not leave out the compiler.
  const options = ['--ignore-scripts', '--include=dev', '--no-audit', '--no-fund']
  run('npm', ['ci', ...options], 'npm ci')
  fs.writeFileSync(installStamp, lockHash())
}

function build() {
  say('building')
  const sources = sourceHash()
  removeStaleOutputs()
  // tsc trusts its build info and would not write an output again that somebody has removed.
  if (missingOutputs().length > 0) fs.rmSync(buildInfo, { force: true })
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], 'tsc')
  run(process.execPath, ['.ci/bundle.mjs'], 'esbuild')
  // The hash of what was there before tsc started: an edit made meanwhile is built next time.
  fs.writeFileSync(buildStamp, buildHash(sources))
}

function run(command, args, name) {
  const options = { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 26 }
  const { status, signal, error, stdout, stderr } = spawnSync(command, args, options)
  if (status === 0) return
  if (error) throw new Stop(`cannot run ${name}: ${error.message}`)
  process.stderr.write(stdout)
  process.stderr.write(stderr)
  throw new Stop(`${name} failed: ${signal ?? `exit status ${status}`}`)
}

const lockHash = () =>
  `${process.platform} ${process.arch} ${hash([read(path.join(root, 'package-lock.json'))])}`

// The build info's time is part of it, because a `tsc` run by hand may have built something else since.
function buildHash(sources = sourceHash()) {
  return `${sources} ${fs.statSync(buildInfo, { throwIfNoEntry: false })?.mtimeMs}`
}

function sourceHash() {
  const build = ['bin/compile.cjs', '.ci/bundle.mjs', '.ci/compile-ahead.cjs']
  const files = [...sourceFiles(), ...build, 'package.json', 'package-lock.json', 'tsconfig.json']
  return hash(files.flatMap((file) => [file, read(path.join(root, file))]))
}

function hash(strings) {
  const sum = createHash('sha256')
  for (const string of strings) sum.update(string ?? '').update('\0')
  return sum.digest('hex')
}

/** All TypeScript sources, as sorted paths below the root. */
function sourceFiles() {
  const isOurs = (entry) =>
    !entry.name.startsWith('.') && entry.name !== 'node_modules' && entry.name !== 'dist'
  return walk(root, isOurs)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => path.relative(root, file))
    .sort()
}

function missingOutputs() {
  const outputs = sourceFiles()
    .filter((file) => !file.endsWith('.d.ts'))
    .map((file) => path.join(dist, file.replace(/\.ts$/, '.js')))
  outputs.push(path.join(dist, 'program.cjs'), path.join(dist, 'program.cjs.cache'))
  return outputs.filter((output) => !fs.existsSync(output))
}

// A test whose source is gone must not go on passing.
function removeStaleOutputs() {
  for (const output of fs.existsSync(dist) ? walk(dist) : []) {
    const source = path.relative(dist, output).replace(/(\.js|\.d\.ts)(\.map)?$/, '.ts')
    if (source.endsWith('.ts') && !fs.existsSync(path.join(root, source))) fs.rmSync(output, { force: true })
  }
}

function walk(folder, wanted = () => true) {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .filter(wanted)
    .flatMap((entry) => {
      const file = path.join(folder, entry.name)
      return entry.isDirectory() ? walk(file, wanted) : [file]
    })
}

/** Keeps out a second run in the same checkout. An abstract socket, since the kernel frees it however we end. */
async function takeLock() {
  const name = `\0mqnbd-ready-${hash([root])}`
  for (;;) {
    const lock = createServer()
    const error = await new Promise((resolve) =>
      lock.once('error', resolve).listen(name, () => resolve(undefined))
    )
    if (!error) return lock
    if (error.code !== 'EADDRINUSE') throw error
    // The holder never accepts: the connection ends when it is done.
    await new Promise((resolve) => connect(name).once('error', resolve).once('close', resolve))
  }
}

function read(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

function say(text) {
  process.stderr.write(`mqnbd: ${text}\n`)
}

/** For the scripts here: `ready`, or one line and exit status 1. */
export async function readyOrExit() {
  try {
    await ready()
  } catch (error) {
    say(error instanceof Stop ? error.message : `cannot get ready: ${error.message}`)
    process.exit(1)
  }
}

if (fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await readyOrExit()
