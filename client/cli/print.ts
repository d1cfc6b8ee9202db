/** Standard output, to the last byte: what is written to a socket is still on its way when the process exits. */
import { constants } from 'node:os'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoOf, reason } from '../../shared/errors/system-error.ts'

/**
 * @returns when all is written: true; or false when whoever reads has gone, as `head` does when it has seen enough
 * @throws NBDError of kind `request`, with the errno: a full disk, for example
 */
export function print(text: string): Promise<boolean> {
  const { stdout } = process
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      const errno = errnoOf(error)
      if (errno === constants.errno.EPIPE) resolve(false)
      else {
        const numbered = errno === undefined ? {} : { errno }
        reject(new NBDError('request', `cannot write: ${reason(error)}`, { ...numbered, cause: error }))
      }
    }
    stdout.once('error', onError)
    stdout.write(text, (error) => {
      // The event follows the callback, and must find somebody.
      if (error) return
      stdout.off('error', onError)
      resolve(true)
    })
  })
}
