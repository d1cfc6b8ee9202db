/** fio: many requests in flight, and checking what they did. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'
import { runOk } from './launched.ts'
import { program } from './requires.ts'
import { tempDir } from './temp-dir.ts'

export interface FioJob {
  error: number
  read: { total_ios: number; io_bytes: number }
  write: { total_ios: number; io_bytes: number }
}

/** Runs fio; an error of its own, or data that is not what it wrote, is an error here. @returns what each job did */
export async function fio(t: Test, ...options: string[]): Promise<FioJob[]> {
  const folder = tempDir(t)
  const output = path.join(folder, 'fio.json')
  // Not on standard output, where its NBD engine prints, too; and no files of its own where the test runs.
  const report = ['--output-format=json', `--output=${output}`, `--aux-path=${folder}`]
  await runOk(t, program('fio'), [...report, ...options])
  const text = fs.readFileSync(output, 'utf8')
  // It may open with warnings.
  return (JSON.parse(text.slice(text.indexOf('{'))) as { jobs: FioJob[] }).jobs
}
