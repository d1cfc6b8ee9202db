/**
 * Sockets between a virtual machine and its host, which Node does not know.
 *
 * @see vsock(7), linux/vm_sockets.h
 */
import * as fs from 'node:fs'
import { closeFd } from './fd.ts'
import { ioctl } from './ioctl.ts'
import { callInPool, declare, EINTR, errno } from './libc.ts'
import { Memory } from './memory.ts'
import { AF_VSOCK, SOCK_CLOEXEC, SOCK_STREAM } from './socket.ts'

const socket = declare('int socket(int family, int type, int protocol)')
const bind = declare('int bind(int fd, uintptr_t address, uint32_t length)')
const listen = declare('int listen(int fd, int backlog)')
const connect = declare('int connect(int fd, uintptr_t address, uint32_t length)')
const getsockname = declare('int getsockname(int fd, uintptr_t address, uintptr_t length)')
const getpeername = declare('int getpeername(int fd, uintptr_t address, uintptr_t length)')
const setsockopt = declare('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)')

const SO_VM_SOCKETS_CONNECT_TIMEOUT = 6
const IOCTL_VM_SOCKETS_GET_LOCAL_CID = 0x7b9
const BACKLOG = 128

/** To listen: with all addresses of this machine. */
export const VMADDR_CID_ANY = 0xffffffff
/** This machine itself. */
const VMADDR_CID_LOCAL = 1
/** To listen: a port that is free. */
const VMADDR_PORT_ANY = 0xffffffff

// struct sockaddr_vm: 2 family, 2 reserved, 4 port, 4 cid, 1 flags, 3 zero
const SOCKADDR_VM_SIZE = 16
const SVM_PORT = 4
const SVM_CID = 8
// struct timeval: 8 seconds, 8 microseconds
const TIMEVAL_SIZE = 16

interface Address {
  cid: number
  port: number
}

/**
 * Connects, in libuv's pool.
 *
 * @param timeoutMs after which the kernel gives up
 * @returns a descriptor, the caller's to close; or the errno as a negative number
 * @see connect(2)
 */
export async function connectVsock(address: Address, timeoutMs: number): Promise<number> {
  const fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0)
  if (fd < 0) return -errno()
  const timeval = encodeTimeval(timeoutMs)
  setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, timeval.address, TIMEVAL_SIZE)
  const memory = encodeAddress(address)
  let result: number
  do result = await callInPool(connect, fd, memory.address, SOCKADDR_VM_SIZE)
  while (result === -EINTR)
  if (result === 0) return fd
  closeFd(fd)
  return result
}

/**
 * A socket that listens.
 *
 * @param address VMADDR_CID_ANY for all that this machine has; port 0 for any that is free
 * @returns a descriptor, the caller's to close; or the errno as a negative number
 */
export function listenVsock({ cid, port }: Address): number {
  const fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0)
  if (fd < 0) return -errno()
  const address = encodeAddress({ cid, port: port === 0 ? VMADDR_PORT_ANY : port })
  if (bind(fd, address.address, SOCKADDR_VM_SIZE) === 0 && listen(fd, BACKLOG) === 0) return fd
  const error = errno()
  closeFd(fd)
  return -error
}

/** Where a socket is bound. @see getsockname(2) */
export const vsockName = (fd: number): Address | undefined => nameBy(getsockname, fd)

/** Who is at the other end; undefined when it has gone already. @see getpeername(2) */
export const vsockPeer = (fd: number): Address | undefined => nameBy(getpeername, fd)

/** By which others reach this machine; where it is no virtual machine and has none, by which it reaches itself. */
export function localCid(): number {
  let fd: number | undefined
  try {
    fd = fs.openSync('/dev/vsock', 'r')
    const memory = Memory.allocate(4)
    const failed = ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, memory.address) < 0
    const cid = memory.buffer.readUInt32LE(0)
    return failed || cid === VMADDR_CID_ANY ? VMADDR_CID_LOCAL : cid
  } catch {
    // Without the device node nobody can say.
    return VMADDR_CID_LOCAL
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
}

/** struct timeval, in whole ms and not 0: the kernel takes neither 0 nor a second of microseconds, and 2 s instead. */
export function encodeTimeval(timeoutMs: number): Memory {
  const ms = Math.max(1, Math.ceil(timeoutMs))
  const memory = Memory.allocate(TIMEVAL_SIZE)
  memory.buffer.writeBigInt64LE(BigInt(Math.floor(ms / 1000)), 0)
  memory.buffer.writeBigInt64LE(BigInt((ms % 1000) * 1000), 8)
  return memory
}

function encodeAddress({ cid, port }: Address): Memory {
  const memory = Memory.allocate(SOCKADDR_VM_SIZE)
  memory.buffer.fill(0)
  memory.buffer.writeUInt16LE(AF_VSOCK, 0)
  memory.buffer.writeUInt32LE(port, SVM_PORT)
  memory.buffer.writeUInt32LE(cid, SVM_CID)
  return memory
}

function nameBy(call: typeof getsockname, fd: number): Address | undefined {
  const memory = Memory.allocate(SOCKADDR_VM_SIZE + 4)
  memory.buffer.writeUInt32LE(SOCKADDR_VM_SIZE, SOCKADDR_VM_SIZE)
  if (call(fd, memory.address, memory.address + SOCKADDR_VM_SIZE) < 0) return undefined
  return { cid: memory.buffer.readUInt32LE(SVM_CID), port: memory.buffer.readUInt32LE(SVM_PORT) }
}
