/** Two Unix sockets that are connected to each other. */
import { declare } from '../../shared/syscall/libc.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { socketPair as openPair } from '../../shared/syscall/socket.ts'

const setsockopt = declare('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)')

const SOL_SOCKET = 1
const SO_SNDBUF = 7

/**
 * @param bufferSize of what may be on its way, in bytes, as the kernel counts it; absent for its default
 * @returns their descriptors, the caller's to close
 */
export function socketPair(bufferSize?: number): [number, number] {
  const fds = openPair()
  if (bufferSize !== undefined) {
    const memory = Memory.allocate(8)
    memory.buffer.writeInt32LE(bufferSize, 0)
    for (const fd of fds) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, memory.address, 4)
  }
  return fds
}
