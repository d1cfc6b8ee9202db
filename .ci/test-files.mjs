// Runs test files by tap, each in a process of its own, two at a time, and writes their TAP to stdout.
// Usage: node .ci/test-files.mjs FILE.test.js...
//
// The files are started by tap's t.spawn and not by its command, which loads three packages (TypeScript, mocks,
// coverage) into each test, each process that a test starts, and each worker thread of those: 1.7 s of processor time
// for each file and 0.25 s for each mqnbd, more than most of the tests need, and not how mqnbd runs elsewhere.
import t from 'tap'

// A file, or a test within it, that has not ended after so long has failed.
const TIMEOUT_S = 240

t.jobs = 2
// All of them together take as long as they take.
t.setTimeout(0)
for (const file of process.argv.slice(2)) {
  // tap asks child processes to load its coverage package by NODE_OPTIONS.
  const env = ['-u', 'NODE_OPTIONS', `TAP_TIMEOUT=${TIMEOUT_S}`]
  const args = [...env, process.execPath, '--enable-source-maps', file]
  void t.spawn('env', args, { buffered: true, stdio: 'inherit', timeout: (TIMEOUT_S + 10) * 1000 }, file)
}
