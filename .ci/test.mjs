// `npm test`: runs the tests by tap, tells in a readable way how it went, and ends with `N passed, N failed`.
// Usage: node .ci/test.mjs [--node PATH] [TEST FILES OR FOLDERS...]
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { bundleIfOlder } from './bundle.mjs'
import { installPeers, peers } from './peers.mjs'
import { TapResults } from './tap-results.mjs'

const root = path.join(import.meta.dirname, '..')
const args = process.argv.slice(2)
const everything = ['unit', 'style', 'conformance', 'integration', 'interop', 'guest', 'fault', 'stress']
const node = args[0] === '--node' ? args.splice(0, 2)[1] : process.execPath

await bundleIfOlder()
const peersAreThere = await installPeers()
const results = new TapResults({ print: console.log, skipFails: namesPeer })
const status = await runTap()
if (!peersAreThere) results.fail('peers are missing')
if (status !== 0 && results.failed === 0) results.fail(`tap ended with ${status}`)
if (results.passed === 0 && results.failed === 0) results.fail('no test ran')
console.log(`\n${results}`)
process.exitCode = results.failed === 0 ? 0 : 1

async function runTap() {
  const named = args.length > 0 ? args : everything.map((folder) => `test/${folder}`)
  const command = ['.ci/test-files.mjs', ...named.flatMap(testFiles)]
  const tap = spawn(node, command, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => tap.once('close', (code, signal) => resolve(signal ?? code)))
  for await (const line of createInterface({ input: tap.stdout })) results.line(line)
  results.end()
  return await ended
}

/** Names a compiled test by its source as well, and all the tests in a folder by the folder. */
function testFiles(arg) {
  const file = arg.replace(/^test\//, 'dist/test/').replace(/\.ts$/, '.js')
  if (!existsSync(path.join(root, file))) {
    console.error(`mqnbd: no such test: ${arg}`)
    process.exit(1)
  }
  if (!statSync(path.join(root, file)).isDirectory()) return [file]
  const names = readdirSync(path.join(root, file), { recursive: true })
  const tests = names.filter((name) => name.endsWith('.test.js')).sort()
  return tests.map((name) => path.join(file, name))
}

/** In CI all peers are there, so a test that says it is skipped for want of one is wrong. */
function namesPeer(reason) {
  return process.env.CI === 'true' && peers.some((peer) => reason.includes(peer))
}
