/** Errors of system calls, with the errno as a positive number; and texts for them. */
import { constants } from 'node:os'
import { getSystemErrorMessage } from './system-error-message.ts'
import { NBDError } from './nbd-error.ts'

const names = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]))

/** `ENOSPC`, or `errno 999`. */
export const errnoName = (errno: number): string => names.get(errno) ?? `errno ${errno}`

/** `no space left on device`. */
export const errnoText = (errno: number): string => getSystemErrorMessage(errno)

/**
 * A system call failed for one request.
 *
 * @param syscall its name, for the message
 */
export const systemError = (errno: number, syscall: string): NBDError =>
  new NBDError('request', `${syscall}: ${errnoText(errno)}`, { errno })

/**
 * The positive errno in an error of Node's own or of ours; undefined when it has none.
 * Node gives system errors a negative `errno`.
 */
export function errnoOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errno' in error)) return undefined
  return typeof error.errno === 'number' ? Math.abs(error.errno) : undefined
}

/** What went wrong, in words, without code and call: for a line that says the rest itself. */
export function reason(error: unknown): string {
  const errno = NBDError.is(error) ? undefined : errnoOf(error)
  if (errno !== undefined && names.has(errno)) return errnoText(errno)
  return error instanceof Error ? error.message : String(error)
}
