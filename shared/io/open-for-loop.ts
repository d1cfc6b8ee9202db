/**
 * Sockets that libuv does not know, in its loop.
 *
 * libuv opens TCP and Unix sockets only: it looks at the family first (uv_guess_handle). But all that it then does with a
 * Unix socket (poll, read, write, shutdown, accept) it would do with a vsock in the same way. So a Unix socket stands at
 * the descriptor while it is opened, and the vsock after that: libuv registers a descriptor with epoll only when the loop
 * runs again. Bytes need no relay then, and everything else of a channel is as it is with Unix sockets.
 */
import { closeFd, duplicateFd, replaceFd, setNonBlocking } from '../syscall/fd.ts'
import { bindUnix } from '../syscall/listen.ts'
import { AF_VSOCK, socketFamily } from '../syscall/socket.ts'

/**
 * Opens a socket by node:net.
 *
 * @context the thread in whose loop it is to live
 * @param fd of any stream socket, connected or listening
 * @param open gives it to node:net, which must not transfer anything before it returns
 * @returns what that returns
 * @throws NBDError of kind `request` (EMFILE)
 */
export function openForLoop<T>(fd: number, open: () => T): T {
  if (socketFamily(fd) !== AF_VSOCK) return open()
  // libuv sets that on what it sees, which will not be this one.
  setNonBlocking(fd)
  const real = duplicateFd(fd)
  try {
    const standIn = bindUnix()
    try {
      replaceFd(fd, standIn)
      return open()
    } finally {
      replaceFd(fd, real)
      closeFd(standIn)
    }
  } finally {
    closeFd(real)
  }
}
