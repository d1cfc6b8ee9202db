/** Listening sockets for other programs. */
import { systemError } from '../errors/system-error.ts'
import { closeFd } from './fd.ts'
import { declare, EINVAL, errno } from './libc.ts'
import { Memory } from './memory.ts'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM } from './socket.ts'

const socket = declare('int socket(int family, int type, int protocol)')
const bind = declare('int bind(int fd, uintptr_t address, uint32_t length)')
const listen = declare('int listen(int fd, int backlog)')

const BACKLOG = 128
// struct sockaddr_un: 2 family, 108 path
const SOCKADDR_UN_SIZE = 110
const SUN_PATH = 2

/**
 * A Unix socket that has a name of the kernel's choice in the abstract namespace, and no more; closed on exec.
 *
 * @returns a descriptor, the caller's to close
 * @throws NBDError of kind `request`
 * @see unix(7), "Autobind feature"
 */
export function bindUnix(): number {
  const address = Memory.allocate(SUN_PATH)
  address.buffer.writeUInt16LE(AF_UNIX, 0)
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
  if (fd < 0) throw systemError(errno(), 'socket')
  if (bind(fd, address.address, SUN_PATH) === 0) return fd
  const error = systemError(errno(), 'bind')
  closeFd(fd)
  throw error
}

/**
 * A Unix socket that listens, and that nobody in this process accepts from; closed on exec.
 *
 * @param path of a file that does not exist
 * @returns a descriptor, the caller's to close
 * @throws NBDError of kind `request`
 * @see unix(7)
 */
export function listenUnix(path: string): number {
  const bytes = Buffer.from(path)
  if (bytes.length >= SOCKADDR_UN_SIZE - SUN_PATH) throw systemError(EINVAL, 'bind')
  const address = Memory.allocate(SOCKADDR_UN_SIZE)
  address.buffer.fill(0)
  address.buffer.writeUInt16LE(AF_UNIX, 0)
  bytes.copy(address.buffer, SUN_PATH)
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
  if (fd < 0) throw systemError(errno(), 'socket')
  const failed =
    bind(fd, address.address, SOCKADDR_UN_SIZE) < 0 ? 'bind' : listen(fd, BACKLOG) < 0 ? 'listen' : undefined
  if (failed === undefined) return fd
  const error = systemError(errno(), failed)
  closeFd(fd)
  throw error
}
