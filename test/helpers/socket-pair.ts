/** Two Unix sockets that are connected to each other. */
import { declare } from '../../shared/syscall/libc.ts'
import { Memory } from '../../shared/syscall/memory.ts'

const socketpair = declare('int socketpair(int family, int type, int protocol, uintptr_t fds)')

const setsockopt = declare('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)')

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_SNDBUF = 7

/**
 * @param bufferSize of what may be on its way, in bytes, as the kernel counts it; absent for its default
 * @returns their descriptors, the caller's to close
 */
export function socketPair(bufferSize?: number): [number, number] {
  const memory = Memory.allocate(8)
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, memory.address) !== 0)
    throw new Error('no socketpair')
  const fds: [number, number] = [memory.buffer.readInt32LE(0), memory.buffer.readInt32LE(4)]
  if (bufferSize !== undefined) {
    memory.buffer.writeInt32LE(bufferSize, 0)
    for (const fd of fds) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, memory.address, 4)
  }
  return fds
}
