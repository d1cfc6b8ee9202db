/** Programs that a test needs. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'

const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin']

/** Path of a program, also of those that only root has in its PATH. */
export const findProgram = (name: string): string | undefined =>
  folders.map((folder) => path.join(folder, name)).find((file) => fs.existsSync(file))

/**
 * Options for a test that needs programs: it is skipped, saying what is missing, where they are not installed; in CI
 * it runs and fails there.
 */
export function requires(...programs: string[]): { skip?: string } {
  const missing = programs.filter((name) => findProgram(name) === undefined)
  if (missing.length === 0 || process.env['CI'] === 'true') return {}
  return { skip: `missing peer: ${missing.join(', ')}` }
}

/** Path of a program that `requires` has seen. */
export function program(name: string): string {
  const file = findProgram(name)
  if (file === undefined) throw new Error(`${name} is not installed`)
  return file
}

export type { Test }
