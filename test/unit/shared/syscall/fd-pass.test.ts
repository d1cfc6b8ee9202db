import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { MAX_PASSED_FDS, recvWithFds, sendWithFds } from '../../../../shared/syscall/fd-pass.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { declare, EAGAIN, EBADF } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

const socketpair = declare('int socketpair(int family, int type, int protocol, uintptr_t fds)')
const sendmsg = declare('int64_t sendmsg(int fd, uintptr_t message, int flags)')
const fcntl = declare('int fcntl(int fd, int command, int argument)')

/** Two connected Unix sockets, closed with the test. */
function socketPair(t: Test): [number, number] {
  const fds = Memory.allocate(8)
  t.equal(socketpair(1 /* AF_UNIX */, 1 /* SOCK_STREAM */, 0, fds.address), 0)
  const pair: [number, number] = [fds.buffer.readInt32LE(0), fds.buffer.readInt32LE(4)]
  t.teardown(() => pair.forEach(closeFd))
  return pair
}

function openFiles(t: Test, count: number): number[] {
  const folder = tempDir(t)
  const fds = Array.from({ length: count }, (_, i) => {
    fs.writeFileSync(path.join(folder, `${i}`), `file ${i}`)
    return fs.openSync(path.join(folder, `${i}`), 'r')
  })
  t.teardown(() => fds.forEach(closeFd))
  return fds
}

const contents = (fd: number): string => {
  const bytes = Buffer.alloc(10)
  return bytes.toString('latin1', 0, fs.readSync(fd, bytes, 0, 10, 0))
}

void t.test('I15 unix-fd-pass: three descriptors come with twelve bytes', async (t) => {
  const [a, b] = socketPair(t)
  const fds = openFiles(t, 3)
  const before = openDescriptors(process.pid).length
  const sent = Memory.allocate(12)
  sent.buffer.write('Hello World!')
  t.equal(sendWithFds(a, sent.address, 12, fds), 12)
  const received = Memory.allocate(12)
  const { n, fds: passed } = recvWithFds(b, received.address, 12)
  t.equal(n, 12)
  t.equal(received.buffer.toString('latin1', 0, 12), 'Hello World!')
  t.equal(new Set([...passed, ...fds]).size, 6, 'they are new, and distinct')
  t.same(passed.map(contents), ['file 0', 'file 1', 'file 2'])
  for (const fd of passed) t.equal(fcntl(fd, 1 /* F_GETFD */, 0), 1 /* FD_CLOEXEC */)
  passed.forEach(closeFd)
  t.equal(openDescriptors(process.pid).length, before)
  t.same(fds.map(contents), ['file 0', 'file 1', 'file 2'], 'the sender keeps its own')
})

void t.test('fd-pass - any number up to the limit', async (t) => {
  const [a, b] = socketPair(t)
  const fds = openFiles(t, MAX_PASSED_FDS)
  const memory = Memory.allocate(1)
  for (let count = 0; count <= MAX_PASSED_FDS; count++) {
    t.equal(sendWithFds(a, memory.address, 1, fds.slice(0, count)), 1)
    const { n, fds: passed } = recvWithFds(b, memory.address, 1)
    t.equal(n, 1)
    t.same(
      passed.map(contents),
      fds.slice(0, count).map((_, i) => `file ${i}`)
    )
    passed.forEach(closeFd)
  }
})

void t.test('fd-pass - what cannot be sent or received', async (t) => {
  const [a, b] = socketPair(t)
  const memory = Memory.allocate(10)
  t.same(recvWithFds(b, memory.address, 10), { n: -EAGAIN, fds: [] })
  const [closed] = openFiles(t, 1)
  fs.closeSync(closed!)
  t.equal(sendWithFds(a, memory.address, 10, [closed!]), -EBADF)
  t.same(recvWithFds(b, memory.address, 10), { n: -EAGAIN, fds: [] }, 'nor did the bytes go')
  t.throws(() => sendWithFds(a, memory.address, 0, [a]), { kind: 'bug', message: /at least one byte/ })
  const many = Array<number>(MAX_PASSED_FDS + 1).fill(a)
  t.throws(() => sendWithFds(a, memory.address, 1, many), { kind: 'bug', message: /17 descriptors/ })
})

void t.test('fd-pass - more descriptors than the limit are refused, and none stays open', async (t) => {
  const [a, b] = socketPair(t)
  const count = MAX_PASSED_FDS + 4
  // By hand: sendWithFds would not.
  const memory = Memory.allocate(4096)
  const { buffer, address } = memory
  buffer.fill(0)
  const pointer = (at: number, value: number): number => buffer.writeBigUInt64LE(BigInt(value), at)
  pointer(16, address + 100)
  pointer(24, 1)
  pointer(32, address + 200)
  pointer(40, 16 + 4 * count)
  pointer(100, address + 1000)
  pointer(108, 1)
  pointer(200, 16 + 4 * count)
  buffer.writeUInt32LE(1, 208)
  buffer.writeUInt32LE(1, 212)
  for (let i = 0; i < count; i++) buffer.writeInt32LE(a, 216 + 4 * i)
  const before = openDescriptors(process.pid).length
  t.equal(sendmsg(a, address, 0), 1)
  const received = Memory.allocate(1)
  t.throws(() => recvWithFds(b, received.address, 1), { kind: 'transport', message: /more than 16/ })
  t.equal(openDescriptors(process.pid).length, before)
})
