/**
 * Descriptors that libuv does not know, in its loop.
 *
 * libuv opens TCP and Unix sockets and pipes only: it looks at what they are first (uv_guess_handle). But all that it then
 * does with a Unix socket (poll, read, write, shutdown, accept) it would do with a vsock in the same way, or poll and read
 * with an eventfd. So a Unix socket stands at the descriptor while it is opened, and the real one after that: libuv
 * registers a descriptor with epoll only when the loop runs again. Bytes need no relay then, and everything else of a
 * channel is as it is with Unix sockets.
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
export const openForLoop = <T>(fd: number, open: () => T): T =>
  socketFamily(fd) === AF_VSOCK ? openBehindStandIn(fd, open) : open()

/** As `openForLoop`. @param fd of anything that can be polled, and what node:net is to do with it */
export function openBehindStandIn<T>(fd: number, open: () => T): T {
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
