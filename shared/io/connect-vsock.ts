/** Connecting from a virtual machine to its host, or the other way. */
import { constants } from 'node:os'
import { NBDError } from '../errors/nbd-error.ts'
import { errnoText } from '../errors/system-error.ts'
import type { VsockAddress } from '../protocol/uri.ts'
import { closeFd } from '../syscall/fd.ts'
import { connectVsock } from '../syscall/vsock.ts'

const { EAFNOSUPPORT, ECONNRESET, ENODEV, ETIMEDOUT } = constants.errno

/**
 * @returns a descriptor, the caller's to close
 * @throws NBDError of kind `transport`
 * @see connectSocket
 */
export function connectedVsock(
  address: VsockAddress,
  timeoutMs: number,
  signal?: AbortSignal
): Promise<number> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new NBDError('transport', 'connecting was given up'))
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()
    void connectVsock(address, timeoutMs)
      .then((fd) => {
        if (fd < 0) reject(new NBDError('transport', explain(-fd, timeoutMs), { errno: -fd }))
        else if (signal?.aborted) closeFd(fd)
        else resolve(fd)
      }, reject)
      .finally(() => signal?.removeEventListener('abort', abort))
  })
}

function explain(errno: number, timeoutMs: number): string {
  if (errno === EAFNOSUPPORT) return 'this kernel has no vsock'
  if (errno === ENODEV) return 'there is no way to such a machine by vsock'
  // vsock has no other way to say so.
  if (errno === ECONNRESET) return 'connection refused'
  if (errno === ETIMEDOUT) return `no connection within ${timeoutMs} ms`
  return errnoText(errno)
}
