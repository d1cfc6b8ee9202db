/** What tests of `mqnbd copy` copy, and how. */
import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import type { Test } from 'tap'
import { emptyImage, MiB } from './files.ts'
import { run, type Ran } from './launched.ts'
import { MQNBD, mqnbd } from './mqnbd.ts'

/** Data at both ends and in the middle, a hole, and zeroes that are allocated; of an odd size. */
export function sparseImage(t: Test): string {
  const file = emptyImage(t, 40 * MiB + 1000)
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, crypto.randomBytes(3 * MiB + 100), 0, 3 * MiB + 100, 0)
  fs.writeSync(fd, Buffer.alloc(2 * MiB), 0, 2 * MiB, 8 * MiB)
  fs.writeSync(fd, crypto.randomBytes(5000), 0, 5000, 20 * MiB + 777)
  fs.writeSync(fd, crypto.randomBytes(100), 0, 100, 40 * MiB + 900)
  fs.closeSync(fd)
  return file
}

/** Bytes of it that are not zero. */
export const DATA_SIZE = 3 * MiB + 100 + 5000 + 100

/** `mqnbd copy ARGS`, which prints nothing. */
export async function copies(t: Test, ...args: string[]): Promise<void> {
  const { status, stdout, stderr } = await mqnbd(t, 'copy', ...args)
  t.same({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' }, `copy ${args.join(' ')}`)
}

/** A command line of a shell, in which $MQNBD is mqnbd. */
export const shell = (t: Test, script: string, ...args: string[]): Promise<Ran> =>
  run(t, 'sh', ['-c', `MQNBD="${process.execPath} ${MQNBD}"; ${script}`, 'sh', ...args])
