/** A folder of a test's own. */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import type { Scope } from './scope.ts'

/**
 * An empty folder, removed with the test. Unlike `t.testdir` its path is short wherever the project lies, so that the
 * path of a Unix socket in it fits into the 108 bytes that there are.
 */
export function tempDir(t: Scope): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mqnbd-'))
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }))
  return folder
}
