/**
 * Moving bytes through a connected socket without waiting, on the calling thread.
 *
 * Each returns the number of bytes moved, or the errno as a negative number; -EAGAIN when it would have to wait.
 */
import { systemError } from '../errors/system-error.ts'
import { IovecArray, storeUint64, wordsOf } from './iovec.ts'
import { ioctl } from './ioctl.ts'
import { declare, EINTR, errno } from './libc.ts'
import { Memory } from './memory.ts'

const recv_ = declare('int64_t recv(int fd, uintptr_t buf, size_t length, int flags)')
const send_ = declare('int64_t send(int fd, uintptr_t buf, size_t length, int flags)')
const sendmsg_ = declare('int64_t sendmsg(int fd, uintptr_t message, int flags)')
const getsockopt = declare('int getsockopt(int fd, int level, int name, uintptr_t value, uintptr_t length)')
const shutdown_ = declare('int shutdown(int fd, int how)')
const sendfile_ = declare('int64_t sendfile(int out, int in, uintptr_t offset, size_t count)')

const MSG_PEEK = 0x02
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
/** More follows at once: TCP holds a small piece back for it. */
export const MSG_MORE = 0x8000

/**
 * @returns 0 at the end of the stream
 * @see recv(2)
 */
export function recv(fd: number, address: number, length: number): number {
  for (;;) {
    const n = recv_(fd, address, length, MSG_DONTWAIT)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

const scratch = Memory.allocate(4)

/**
 * Whether there is something to receive, which stays where it is.
 *
 * @returns 1 when there is; 0 at the end of the stream
 * @see recv(2), MSG_PEEK
 */
export function peek(fd: number): number {
  for (;;) {
    const n = recv_(fd, scratch.address, 1, MSG_PEEK | MSG_DONTWAIT)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

const SIOCOUTQ = 0x5411

/**
 * What a Unix socket's peer has not received of what was sent, in bytes of the kernel's, which count what keeps them, too.
 *
 * @see unix(7), SIOCOUTQ
 */
export const unreadByPeer = (fd: number): number =>
  ioctl(fd, SIOCOUTQ, scratch.address) < 0 ? 0 : scratch.buffer.readInt32LE(0)

/** @see send(2) */
export function send(fd: number, address: number, length: number, flags = 0): number {
  for (;;) {
    const n = send_(fd, address, length, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

/** Pieces in one `sendGather`. The kernel's own bound (IOV_MAX) is 1024. */
export const MAX_GATHER = 64

const iovecs = new IovecArray(MAX_GATHER)

// struct msghdr: 8 name, 4 namelen, 4 padding, 8 iov, 8 iovlen, 8 control, 8 controllen, 4 flags, 4 padding
const message = Memory.allocate(56)
message.buffer.fill(0, 0, 56)
const messageWords = wordsOf(message)
const MSG_IOV = 4
const MSG_IOVLEN = 6
storeUint64(messageWords, MSG_IOV, iovecs.address)

/** Sets piece `index` of the next `sendGather` of this thread. */
export const setGather = (index: number, address: number, length: number): void =>
  iovecs.set(index, address, length)

/**
 * Sends the first `count` pieces in one call.
 *
 * @see sendmsg(2)
 */
export function sendGather(fd: number, count: number, flags = 0): number {
  messageWords[MSG_IOVLEN] = count
  for (;;) {
    const n = sendmsg_(fd, message.address, flags | MSG_DONTWAIT | MSG_NOSIGNAL)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

const fileOffset = Memory.allocate(8)
const offsetWords = wordsOf(fileOffset)

/**
 * Sends a part of a file without bringing it here. Waits for the disk where the part is not cached; never for
 * the socket, which must be non-blocking.
 *
 * @see sendfile(2)
 */
export function sendfile(fd: number, file: number, offset: number, length: number): number {
  for (;;) {
    storeUint64(offsetWords, 0, offset)
    const n = sendfile_(fd, file, fileOffset.address, length)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

const HOW = { read: 0, write: 1, both: 2 }

/** @returns 0, or the errno as a negative number @see shutdown(2) */
export const shutdownSocket = (fd: number, mode: keyof typeof HOW): number =>
  shutdown_(fd, HOW[mode]) < 0 ? -errno() : 0

const setsockopt = declare('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)')
const IPPROTO_TCP = 6
const TCP_CORK = 3
/** A value, and its length. */
const socketOption = Memory.allocate(8)

/** Holds small pieces back until they fill a packet, or lets them go. Does nothing on sockets that are not TCP. @see tcp(7) */
export function setTcpCork(fd: number, on: boolean): void {
  socketOption.buffer.writeInt32LE(on ? 1 : 0, 0)
  setsockopt(fd, IPPROTO_TCP, TCP_CORK, socketOption.address, 4)
}

const socketpair = declare('int socketpair(int family, int type, int protocol, uintptr_t fds)')

/**
 * Two Unix sockets that are connected to each other; closed on exec.
 *
 * @returns descriptors, the caller's to close
 * @throws NBDError of kind `request` (EMFILE)
 * @see socketpair(2)
 */
export function socketPair(): [number, number] {
  const fds = socketOption
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.address) < 0)
    throw systemError(errno(), 'socketpair')
  return [fds.buffer.readInt32LE(0), fds.buffer.readInt32LE(4)]
}

const SOL_SOCKET = 1
const SO_TYPE = 3
const SO_SNDBUF = 7
const SO_ACCEPTCONN = 30
const SO_DOMAIN = 39
/** Families of sockets. @see address_families(7) */
export const AF_UNIX = 1
export const AF_VSOCK = 40
const AF_INET = 2
const AF_INET6 = 10
/** Types of sockets. @see socket(2) */
export const SOCK_STREAM = 1
export const SOCK_CLOEXEC = 0o2000000

/** @returns undefined when it is no socket @see socket(7) */
function numericOption(fd: number, name: number): number | undefined {
  socketOption.buffer.writeInt32LE(4, 4)
  const failed = getsockopt(fd, SOL_SOCKET, name, socketOption.address, socketOption.address + 4) < 0
  return failed ? undefined : socketOption.buffer.readInt32LE(0)
}

/** What kind of socket it is: an AF_*; undefined for what is no socket. @see socket(7), SO_DOMAIN */
export const socketFamily = (fd: number): number | undefined => numericOption(fd, SO_DOMAIN)

/** Whether it is a TCP or Unix socket that connections can be accepted from. */
export const isListening = (fd: number): boolean =>
  [AF_UNIX, AF_INET, AF_INET6].includes(socketFamily(fd) ?? -1) &&
  numericOption(fd, SO_TYPE) === SOCK_STREAM &&
  numericOption(fd, SO_ACCEPTCONN) === 1

/** Lets so much wait in the socket to be received, or as much as the system allows. @see socket(7), SO_SNDBUF */
export function setSendBuffer(fd: number, size: number): void {
  socketOption.buffer.writeInt32LE(size, 0)
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, socketOption.address, 4)
}
