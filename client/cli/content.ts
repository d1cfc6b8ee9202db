/** What an export holds, as far as file(1) can tell from its first bytes. */
import { spawn } from 'node:child_process'
import { printable } from '../../shared/config/printable.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { NBDDisk } from '../index.ts'

/** As nbdinfo. */
const HEAD_SIZE = 8192
const TIMEOUT_MS = 10_000
/** Of what file(1) says. */
const MAX_TEXT = 4096

/** @returns one line; undefined when nobody can tell: there is no file(1), or the bytes cannot be read */
export async function contentOf(disk: NBDDisk): Promise<string | undefined> {
  try {
    return await guess(await disk.read(0, Math.min(HEAD_SIZE, disk.size)))
  } catch (error) {
    if (NBDError.is(error) && error.kind === 'request') return undefined
    throw error
  }
}

function guess(head: Buffer): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn('file', ['-b', '-'], { stdio: ['pipe', 'pipe', 'ignore'], timeout: TIMEOUT_MS })
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (some: string) => (text = (text + some).slice(0, MAX_TEXT)))
    child.once('error', () => resolve(undefined))
    child.once('close', () => resolve(printable(text.split('\n', 1)[0]!) || undefined))
    // It need not read all before it knows.
    child.stdin.on('error', () => undefined)
    child.stdin.end(head)
  })
}
