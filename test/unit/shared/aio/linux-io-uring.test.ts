import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { LinuxIOUring, RING_ENTRIES } from '../../../../shared/aio/linux-io-uring.ts'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { EBADF } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { createPipe, writeByte } from '../../../../shared/syscall/pipe.ts'
import { DIE } from '../../../helpers/raw-entry-points.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { BEGIN_READ, requiresIOUring } from '../../../helpers/uring.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'

const needed = requiresIOUring()
const descriptors = (): number => fs.readdirSync('/proc/self/fd').length

void t.test('io_uring - reads, writes and syncs; errors are errnos', needed, async (t) => {
  const file = path.join(tempDir(t), 'file')
  const fd = fs.openSync(file, 'w+')
  t.teardown(() => fs.closeSync(fd))
  const ring = LinuxIOUring.current()
  const memory = Memory.allocate(8192)
  const bytes = crypto.randomBytes(5000)
  bytes.copy(memory.buffer, 100)
  // Far behind what 32 bits can tell.
  const far = 5 * 2 ** 32 + 7
  t.equal(await ring.write(fd, memory, 100, far, bytes.length), bytes.length)
  await ring.fdatasync(fd)
  t.equal(fs.statSync(file).size, far + bytes.length)
  memory.buffer.fill(0)
  t.equal(await ring.read(fd, memory, 3, far + 1000, 8000), 4000, 'up to the end of the file')
  t.ok(memory.buffer.subarray(3, 4003).equals(bytes.subarray(1000)))
  t.equal(await ring.read(fd, memory, 0, far + 5000, 1), 0)
  const bad = (message: string): { message: string } => ({ ...{ kind: 'request', errno: EBADF }, message })
  await t.rejects(ring.read(-1, memory, 0, 0, 1), bad('read: bad file descriptor'))
  await t.rejects(ring.fdatasync(-1), bad('fdatasync: bad file descriptor'))
})

void t.test('io_uring - more at once than the ring holds', needed, async (t) => {
  const COUNT = 3000
  const SIZE = 4096
  const file = path.join(tempDir(t), 'file')
  const bytes = crypto.randomBytes(64 * SIZE)
  fs.writeFileSync(file, bytes)
  const fd = fs.openSync(file, 'r')
  t.teardown(() => fs.closeSync(fd))
  const ring = LinuxIOUring.current()
  const reads = Array.from({ length: COUNT }, async (_, i) => {
    const memory = Memory.allocate(SIZE)
    const offset = (i * 1000) % (63 * SIZE)
    const n = await ring.read(fd, memory, 0, offset, SIZE)
    return n === SIZE && memory.buffer.equals(bytes.subarray(offset, offset + SIZE))
  })
  t.equal((await Promise.all(reads)).filter(Boolean).length, COUNT)
})

void t.test('io_uring - a loop that sleeps is woken, in whatever order', needed, async (t) => {
  const COUNT = 700
  const pipes = Array.from({ length: COUNT }, () => createPipe(true))
  t.teardown(() => pipes.forEach(({ readFd, writeFd }) => [readFd, writeFd].forEach(closeFd)))
  const ring = LinuxIOUring.current()
  const done: number[] = []
  const reads = pipes.map(async ({ readFd }, i) => {
    if ((await ring.read(readFd, Memory.allocate(1), 0, 0, 1)) === 1) done.push(i)
  })
  // The last that fit are those that are first done; so there is room for the rest.
  for (let i = RING_ENTRIES - 1; i >= 0; i--) {
    writeByte(pipes[i]!.writeFd)
    await within(
      `read ${i}`,
      waitFor('it', () => done.includes(i))
    )
    if (i === RING_ENTRIES - 50) break
  }
  for (let i = 0; i < COUNT; i++) writeByte(pipes[i]!.writeFd)
  await within('all', Promise.all(reads))
  t.equal(new Set(done).size, COUNT)
})

void t.test(
  'io_uring - the kernel has large requests, or many small ones, while the thread goes on',
  needed,
  async (t) => {
    const ring = LinuxIOUring.current()
    for (const { size, count } of [
      { size: 16 * 1024, count: 1 },
      { size: 4096, count: 4 }
    ]) {
      const { readFd, writeFd } = createPipe(true)
      t.teardown(() => [readFd, writeFd].forEach(closeFd))
      const memory = Memory.allocate(size)
      const writes = Array.from({ length: count }, () => ring.write(writeFd, memory, 0, 0, size))
      // Blocks this thread until all is there.
      for (let n = 0; n < size * count;) n += fs.readSync(readFd, Buffer.alloc(size))
      t.same(await Promise.all(writes), Array(count).fill(size))
    }
  }
)

void t.test('io_uring - a thread ends when the kernel is done with its memory', needed, async (t) => {
  const { readFd, writeFd } = createPipe(true)
  t.teardown(() => [readFd, writeFd].forEach(closeFd))
  const before = descriptors()
  for (const fault of [false, true]) {
    const thread = await IOThread.start('io')
    await thread.run(BEGIN_READ, readFd)
    let ended = false
    thread.onFault(() => (ended = true))
    const dying = fault ? thread.run(DIE, 'out of luck').catch(() => undefined) : undefined
    const stopped = fault ? undefined : thread.stop().then(() => (ended = true))
    // Time enough for a thread that does not wait.
    for (let i = 0; i < 3; i++) await IOThread.start('other').then((other) => other.stop())
    t.equal(ended, false)
    writeByte(writeFd)
    await within(
      'its end',
      waitFor('it', () => ended)
    )
    await stopped
    await dying
    await thread.stop()
  }
  // The pipes of contexts stay for the next ones.
  const rest = descriptors() - before
  t.ok(rest <= 4, `${rest} descriptors more`)
})
