/**
 * Sending and receiving descriptors over a Unix socket, on the calling thread.
 *
 * The layouts are those of 64-bit Linux, little-endian, x86_64 and arm64 alike. (musl declares narrower fields with
 * padding beside them; as the padding is zero, both read the same.)
 *
 * @see unix(7), SCM_RIGHTS; cmsg(3); QEMU io/channel-socket.c, qio_channel_socket_copy_fds
 */
import { bugError, NBDError } from '../errors/nbd-error.ts'
import { closeFd } from './fd.ts'
import { IovecArray, storeUint64, wordsOf } from './iovec.ts'
import { declare, EINTR, errno } from './libc.ts'
import { Memory } from './memory.ts'

const sendmsg = declare('int64_t sendmsg(int fd, uintptr_t message, int flags)')
const recvmsg = declare('int64_t recvmsg(int fd, uintptr_t message, int flags)')

/** Descriptors in one message. @see SOCKET_MAX_FDS in QEMU */
export const MAX_PASSED_FDS = 16

const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const MSG_CTRUNC = 0x08
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const MSG_CMSG_CLOEXEC = 0x40000000

// struct cmsghdr: 8 len, 4 level, 4 type; then the descriptors, 4 each; the next one begins at a multiple of 8.
const CMSG_HEADER = 16
const CMSG_LEVEL = 8
const CMSG_TYPE = 12
const FD_SIZE = 4
const align = (length: number): number => (length + 7) & ~7

// struct msghdr: 8 name, 4 namelen, 4 padding, 8 iov, 8 iovlen, 8 control, 8 controllen, 4 flags, 4 padding
const MSG_IOV = 16
const MSG_IOVLEN = 24
const MSG_CONTROL = 32
const MSG_CONTROLLEN = 40
const MSG_FLAGS = 48
const MSGHDR_SIZE = 56

const iovec = new IovecArray(1)
const control = Memory.allocate(CMSG_HEADER + align(MAX_PASSED_FDS * FD_SIZE))
const CONTROL_SIZE = CMSG_HEADER + align(MAX_PASSED_FDS * FD_SIZE)
const message = Memory.allocate(MSGHDR_SIZE)
const messageWords = wordsOf(message)

function prepare(address: number, length: number, controlLength: number): void {
  iovec.set(0, address, length)
  message.buffer.fill(0, 0, MSGHDR_SIZE)
  storeUint64(messageWords, MSG_IOV / 4, iovec.address)
  message.buffer.writeUInt32LE(1, MSG_IOVLEN)
  if (controlLength === 0) return
  storeUint64(messageWords, MSG_CONTROL / 4, control.address)
  message.buffer.writeUInt32LE(controlLength, MSG_CONTROLLEN)
}

function call(what: typeof sendmsg, fd: number, flags: number): number {
  for (;;) {
    const n = what(fd, message.address, flags | MSG_DONTWAIT)
    if (n >= 0) return n
    const e = errno()
    if (e !== EINTR) return -e
  }
}

/**
 * Sends bytes without waiting, and with the first of them descriptors.
 *
 * @param length at least 1
 * @param fds at most MAX_PASSED_FDS; they stay the caller's
 * @returns bytes, or the errno as a negative number: then no descriptor went either
 * @see sendmsg(2)
 */
export function sendWithFds(fd: number, address: number, length: number, fds: readonly number[]): number {
  if (length < 1) throw bugError('descriptors travel with at least one byte')
  if (fds.length > MAX_PASSED_FDS) throw bugError(`${fds.length} descriptors in one message`)
  const data = fds.length * FD_SIZE
  prepare(address, length, data === 0 ? 0 : CMSG_HEADER + align(data))
  control.buffer.fill(0, 0, CONTROL_SIZE)
  control.buffer.writeUInt32LE(CMSG_HEADER + data, 0)
  control.buffer.writeUInt32LE(SOL_SOCKET, CMSG_LEVEL)
  control.buffer.writeUInt32LE(SCM_RIGHTS, CMSG_TYPE)
  fds.forEach((passed, i) => control.buffer.writeInt32LE(passed, CMSG_HEADER + i * FD_SIZE))
  return call(sendmsg, fd, MSG_NOSIGNAL)
}

/**
 * Receives bytes without waiting, and the descriptors that came with them.
 *
 * @returns `n`: bytes, 0 at the end of the stream, or the errno as a negative number; `fds`: new descriptors, closed
 *   on exec, the caller's to close
 * @throws NBDError of kind `transport` when more descriptors came than MAX_PASSED_FDS; then none is left open
 * @see recvmsg(2)
 */
export function recvWithFds(fd: number, address: number, length: number): { n: number; fds: number[] } {
  prepare(address, length, CONTROL_SIZE)
  const n = call(recvmsg, fd, MSG_CMSG_CLOEXEC)
  if (n < 0) return { n, fds: [] }
  const fds = passedFds()
  if ((message.buffer.readUInt32LE(MSG_FLAGS) & MSG_CTRUNC) === 0) return { n, fds }
  fds.forEach(closeFd)
  throw new NBDError('transport', `the peer passes more than ${MAX_PASSED_FDS} descriptors at once`)
}

/** Those in the control messages of the last recvmsg. */
function passedFds(): number[] {
  const fds: number[] = []
  const end = message.buffer.readUInt32LE(MSG_CONTROLLEN)
  for (let at = 0; at + CMSG_HEADER <= end;) {
    const length = control.buffer.readUInt32LE(at)
    if (
      control.buffer.readUInt32LE(at + CMSG_LEVEL) === SOL_SOCKET &&
      control.buffer.readUInt32LE(at + CMSG_TYPE) === SCM_RIGHTS
    ) {
      for (let fd = at + CMSG_HEADER; fd + FD_SIZE <= at + length; fd += FD_SIZE) {
        fds.push(control.buffer.readInt32LE(fd))
      }
    }
    at += Math.max(align(length), CMSG_HEADER)
  }
  return fds
}
