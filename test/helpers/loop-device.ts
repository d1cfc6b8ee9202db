/** A file as a block device. */
import { spawnSync } from 'node:child_process'
import type { Test } from 'tap'
import { runOk } from './launched.ts'
import { findProgram, program } from './requires.ts'

/** Options for a test that needs block devices: only root can make them, and not in every container. */
export function requiresLoopDevice(): { skip?: string } {
  const losetup = findProgram('losetup')
  if (losetup !== undefined && process.getuid!() === 0 && spawnSync(losetup, ['-f']).status === 0) return {}
  return { skip: 'loop devices cannot be made here' }
}

/**
 * Makes a block device of a file for as long as somebody uses it.
 *
 * @param use opens the device; when it is done the device is only kept by whoever has it open, and so cannot be left
 *   behind, however the test ends
 */
export async function withLoopDevice<T>(
  t: Test,
  file: string,
  options: string[],
  use: (device: string) => Promise<T>
): Promise<T> {
  const device = (await runOk(t, program('losetup'), ['--find', '--show', ...options, file])).trim()
  try {
    return await use(device)
  } finally {
    await runOk(t, program('losetup'), ['--detach', device])
  }
}
