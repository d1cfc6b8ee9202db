/** fio: many requests in flight, and checking what they did. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { runOk } from './launched.ts'
import { program } from './requires.ts'
import type { Scope } from './scope.ts'
import { tempDir } from './temp-dir.ts'

/** One direction of a job. */
interface FioTransfers {
  total_ios: number
  io_bytes: number
  iops: number
}

export interface FioJob {
  error: number
  read: FioTransfers
  write: FioTransfers
  /** Percentages of the job's time. */
  usr_cpu: number
  sys_cpu: number
}

/** Runs fio; an error of its own, or data that is not what it wrote, is an error here. @returns what each job did */
export const fio = (t: Scope, ...options: string[]): Promise<FioJob[]> => fioUnder(t, [], ...options)

/** As `fio`. @param under a command that runs it */
export async function fioUnder(t: Scope, under: string[], ...options: string[]): Promise<FioJob[]> {
  const folder = tempDir(t)
  const output = path.join(folder, 'fio.json')
  // Not on standard output, where its NBD engine prints, too; and no files of its own where the test runs.
  const report = ['--output-format=json', `--output=${output}`, `--aux-path=${folder}`]
  const [command, ...args] = [...under, program('fio'), ...report, ...options]
  await runOk(t, command!, args)
  const text = fs.readFileSync(output, 'utf8')
  // It may open with warnings.
  return (JSON.parse(text.slice(text.indexOf('{'))) as { jobs: FioJob[] }).jobs
}
