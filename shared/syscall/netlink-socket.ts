/**
 * A netlink socket: datagrams to the kernel and from it, on the calling thread.
 *
 * @see netlink(7)
 */
import { NBDError } from '../errors/nbd-error.ts'
import { systemError } from '../errors/system-error.ts'
import { closeFd } from './fd.ts'
import { declare, EAGAIN, errno } from './libc.ts'
import { Memory } from './memory.ts'
import { recv, send, SOCK_CLOEXEC } from './socket.ts'

const socket = declare('int socket(int domain, int type, int protocol)')
const setsockopt = declare('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)')

const AF_NETLINK = 16
const SOCK_RAW = 3
const SOL_NETLINK = 270
const NETLINK_ADD_MEMBERSHIP = 1
const NETLINK_EXT_ACK = 11
export const NETLINK_GENERIC = 16

/** The kernel's own bound on a datagram that it sends unasked is 32 KiB. */
const RECEIVE_SIZE = 64 * 1024

export class NetlinkSocket {
  readonly #fd: number
  readonly #memory = Memory.allocate(RECEIVE_SIZE)

  private constructor(fd: number) {
    this.#fd = fd
  }

  /** @param protocol such as NETLINK_GENERIC @throws NBDError of kind `request` @see socket(2) */
  static open(protocol: number): NetlinkSocket {
    const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
    if (fd < 0) throw systemError(errno(), 'socket(AF_NETLINK)')
    const opened = new NetlinkSocket(fd)
    // Words with an error, where the kernel knows how.
    opened.#option(NETLINK_EXT_ACK, 1)
    return opened
  }

  /**
   * Sends a datagram to the kernel, which does what it asks for before this returns.
   *
   * @throws NBDError of kind `request`
   */
  send(message: Buffer): void {
    const copy = Memory.allocate(message.length)
    message.copy(copy.buffer)
    const n = send(this.#fd, copy.address, message.length)
    if (n < 0) throw systemError(-n, 'send to the kernel by netlink')
  }

  /**
   * Takes a datagram that is there.
   *
   * @returns a copy, the caller's; undefined when there is none
   * @throws NBDError of kind `request`; ENOBUFS when some were lost
   */
  receive(): Buffer | undefined {
    const n = recv(this.#fd, this.#memory.address, RECEIVE_SIZE)
    if (n === -EAGAIN) return undefined
    if (n < 0) throw systemError(-n, 'receive from the kernel by netlink')
    return Buffer.from(this.#memory.buffer.subarray(0, n))
  }

  /** From now on, what the kernel tells everybody in this group is received as well. @throws NBDError of kind `request` */
  join(group: number): void {
    const e = this.#option(NETLINK_ADD_MEMBERSHIP, group)
    if (e !== 0) throw new NBDError('request', `netlink group ${group} cannot be joined`, { errno: e })
  }

  close(): void {
    closeFd(this.#fd)
  }

  /** @returns 0 or the errno */
  #option(name: number, value: number): number {
    const memory = Memory.allocate(4)
    memory.buffer.writeUInt32LE(value, 0)
    return setsockopt(this.#fd, SOL_NETLINK, name, memory.address, 4) < 0 ? errno() : 0
  }
}
