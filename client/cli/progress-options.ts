/**
 * `-p`, `--progress` and `--progress=FD`.
 *
 * As in nbdcopy the number, where there is one, stands behind a `=`: what follows `--progress` is something else.
 */
import * as fs from 'node:fs'
import type { Options } from 'yargs'
import { configError } from '../../shared/errors/nbd-error.ts'
import { parseInteger } from '../../shared/config/integer.ts'
import { accessMode } from '../../shared/syscall/fd.ts'
import { noProgress, progressForPeople, ProgressNumbers, type ProgressOutput } from '../copy/progress.ts'

const MAX_FD = 2 ** 20

export const progressOptions = {
  progress: {
    alias: 'p',
    type: 'boolean',
    describe: 'Show a progress bar; --progress=FD writes N/100 there'
  },
  'progress-fd': { type: 'string', requiresArg: true, hidden: true }
} as const satisfies Record<string, Options>

/**
 * Where numbers go, or `people`.
 *
 * @throws NBDError of kind `config` when that cannot be written to
 */
export function progressFd({
  progress,
  progressFd
}: {
  progress?: boolean | undefined
  progressFd?: string | undefined
}): number | 'people' | undefined {
  if (progressFd === undefined) return progress ? 'people' : undefined
  const fd = parseInteger(progressFd, '--progress', 0, MAX_FD)
  let mode: number | undefined
  try {
    mode = accessMode(fd)
  } catch {
    // Not open.
  }
  if (mode === undefined || mode === fs.constants.O_RDONLY)
    throw configError(`--progress: the file descriptor ${fd} is not open for writing`)
  return fd
}

export function progressOutput(progress: number | 'people' | undefined): ProgressOutput {
  if (progress === undefined) return noProgress
  return progress === 'people' ? progressForPeople() : new ProgressNumbers(progress)
}
