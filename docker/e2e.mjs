// End-to-end test of the Docker image and of compose.yml: the server in one container, real NBD clients in another on
// the same private network. Needs root on Debian. Ends with `N passed, N failed`.
import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { find } from '../.ci/peers.mjs'
import { importDebian, importNode, installPackages, run, startEngine } from './e2e-setup.mjs'

const here = import.meta.dirname
const temp = fs.mkdtempSync(path.join(os.tmpdir(), 'mqnbd-e2e-'))
// The one folder that server and test share, and the one that client and test share.
const served = path.join(temp, 'served')
const work = path.join(temp, 'work')
const name = path.basename(temp).toLowerCase()
const counts = { passed: 0, failed: 0 }
let engine

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, async () => {
    await cleanUp()
    process.exit(1)
  })
}

try {
  await test()
} catch (error) {
  counts.failed++
  console.log(`not ok - ${error.step}: ${error.stack}`)
  if (engine) console.log(await compose('logs', '--no-color', '--tail', '50').catch(() => ''))
}
await cleanUp()
console.log(`${counts.passed} passed, ${counts.failed} failed`)
process.exitCode = counts.failed === 0 ? 0 : 1

async function test() {
  const tree = await prepare('packages, Docker Engine, base images', setUp)
  const port = await freePort()
  const first = await prepare('a file system to copy', () => makeImage('first.img', path.join(tree, 'usr')))
  const second = await prepare('another one', () => makeImage('second.img', path.join(tree, 'etc')))
  await prepare('an empty disk', () => makeDisk(fs.statSync(first).size))
  writeOverride(port)

  await check('the image builds', () => compose('build', '--build-arg', `BASE=${name}-node`, 'mqnbd'))
  await check('it holds the program and what that needs, no tests and no tools to build it', async () => {
    const files = await docker(
      'run',
      '--rm',
      '--entrypoint',
      'find',
      `${name}-mqnbd`,
      '/app',
      '-maxdepth',
      '2'
    )
    for (const file of ['bin/mqnbd.cjs', 'dist/program.cjs.cache', 'node_modules/koffi'])
      assert(files.includes(`/app/${file}\n`), file)
    for (const file of ['dist/test', 'node_modules/typescript'])
      assert(!files.includes(`/app/${file}\n`), file)
  })
  await check('the server becomes healthy', async () => {
    await compose('up', '-d', '--no-build')
    assert.equal(await docker('inspect', '-f', '{{.State.Health.Status}}', await server()), 'healthy')
  })
  await check('it does not run as root', async () => {
    assert.equal(await compose('exec', '-T', 'mqnbd', 'id', '-u'), '1000')
  })
  await check('the health check fails where no server answers', async () => {
    const healthcheck = ['node', '/app/docker/healthcheck.mjs']
    const failed = compose('exec', '-T', '-e', 'MQNBD_HEALTH_PORT=1', 'mqnbd', ...healthcheck)
    await assert.rejects(failed, /not healthy: connect ECONNREFUSED/)
  })
  await check('nbdinfo sees the disk from another container', async () => {
    const [disk] = JSON.parse(await client('nbdinfo', '--json', 'nbd://mqnbd')).exports
    assert.equal(disk['export-size'], fs.statSync(first).size)
  })
  await check('nbdinfo sees it through the published port', async () => {
    const [command, ...args] = [...engine.onHost, find('nbdinfo'), '--size', `nbd://127.0.0.1:${port}`]
    assert.equal(Number(await run(command, args)), fs.statSync(first).size)
  })
  await check('an image goes in by qemu-img and comes out by nbdcopy', async () => {
    await client('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', '/transfer/first.img', 'nbd://mqnbd')
    await client('nbdcopy', 'nbd://mqnbd', '/transfer/out.img')
    await client('cmp', '/transfer/first.img', '/transfer/out.img')
    await client('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', '/transfer/first.img', 'nbd://mqnbd')
  })
  await check('another goes in by nbdcopy and comes out by qemu-img', async () => {
    await client('nbdcopy', '/transfer/second.img', 'nbd://mqnbd')
    await client('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', 'nbd://mqnbd', '/transfer/out.img')
    await client('cmp', '/transfer/second.img', '/transfer/out.img')
  })
  await check('SIGTERM ends the server with exit status 0', async () => {
    const id = await server()
    await docker('stop', '--time', '30', id)
    assert.equal(await docker('inspect', '-f', '{{.State.ExitCode}}', id), '0')
  })
  await check('the disk on the volume is what was copied in', () =>
    run('cmp', [second, path.join(served, 'disk.img')])
  )
}

async function setUp() {
  installPackages()
  engine = await startEngine(temp)
  const tree = await importDebian(`${name}-debian`, engine)
  await importNode(`${name}-node`, tree, { env: engine.env, temp })
  return tree
}

async function makeImage(file, folder) {
  fs.mkdirSync(work, { recursive: true })
  const image = path.join(work, file)
  await run(find('mkfs.ext4'), ['-q', '-d', folder, image, '512M'])
  return image
}

function makeDisk(size) {
  const disk = path.join(served, 'disk.img')
  fs.mkdirSync(served)
  fs.writeFileSync(disk, '')
  fs.truncateSync(disk, size)
  // The user of the image and of compose.yml.
  fs.chownSync(disk, 1000, 1000)
}

// compose.yml as users have it, with names of our own, and with a client beside the server.
function writeOverride(port) {
  const services = {
    mqnbd: { image: `${name}-mqnbd` },
    client: {
      image: `${name}-debian`,
      command: ['sleep', 'infinity'],
      init: true,
      volumes: [`${work}:/transfer`],
      depends_on: { mqnbd: { condition: 'service_healthy' } }
    }
  }
  // JSON is YAML.
  fs.writeFileSync(path.join(temp, 'override.yml'), JSON.stringify({ version: '3.8', services }))
  Object.assign(engine.env, { MQNBD_IMAGES: served, MQNBD_PORT: String(port) })
}

function docker(...args) {
  return run('docker', args, { env: engine.env })
}

function compose(...args) {
  const files = ['-f', path.join(here, 'compose.yml'), '-f', path.join(temp, 'override.yml')]
  return run('docker-compose', ['-p', name, ...files, ...args], { env: engine.env, timeout: 300_000 })
}

function client(...command) {
  return compose('exec', '-T', 'client', ...command)
}

function server() {
  return compose('ps', '-q', 'mqnbd')
}

async function freePort() {
  const socket = createServer()
  await new Promise((resolve) => socket.listen(0, '127.0.0.1', resolve))
  const { port } = socket.address()
  await new Promise((resolve) => socket.close(resolve))
  return port
}

/** A step without which there is nothing to test. */
async function prepare(step, action, mark = '#') {
  const start = performance.now()
  try {
    const result = await action()
    console.log(`${mark} ${step} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
    return result
  } catch (error) {
    throw Object.assign(error, { step })
  }
}

/** A test. Each builds on the ones before it, so that the first failure ends the run. */
async function check(step, action) {
  await prepare(step, action, 'ok -')
  counts.passed++
}

async function cleanUp() {
  try {
    if (fs.existsSync(path.join(temp, 'override.yml'))) await compose('down', '--volumes', '--timeout', '5')
    if (engine) await docker('image', 'rm', '--force', `${name}-mqnbd`, `${name}-node`, `${name}-debian`)
  } catch (error) {
    console.log(`# cleaning up: ${error.message}`)
  }
  await engine?.stop()
  fs.rmSync(temp, { recursive: true, force: true })
}
