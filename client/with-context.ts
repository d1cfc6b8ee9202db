/** Errors that say what they kept from happening. */
import { NBDError } from '../shared/errors/nbd-error.ts'

/** The same error with words in front of its message. */
export function withContext(what: string, cause: NBDError): NBDError {
  const { kind, errno, message } = cause
  return new NBDError(kind, `${what}: ${message}`, { ...(errno === undefined ? {} : { errno }), cause })
}
