import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelFile } from '../../../../shared/io/channel-file.ts'
import { QIOChannelPipe } from '../../../../shared/io/channel-pipe.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { createPipe } from '../../../../shared/syscall/pipe.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { connectedSockets, makeFifo } from './channel-kinds.ts'
import { equalBytes, fillPattern, iovecs } from './channel-validator.ts'

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_EXCL } = fs.constants

void t.test(
  'I3 file (wronly): what is written is in the file, which has the mode less the umask',
  async (t) => {
    const file = path.join(tempDir(t), 'file')
    const umask = process.umask(0o027)
    t.teardown(() => process.umask(umask))
    const channel = await QIOChannelFile.open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o666)
    t.type(channel, QIOChannelFile)
    t.equal(fs.statSync(file).mode & 0o777, 0o640)
    const written = iovecs()
    fillPattern(written, 1)
    await Coroutine.start(() => channel.writevAll(written))
    t.throws(() => channel.readv(iovecs(1, 1)), {
      kind: 'transport',
      message: /reading: bad file descriptor/
    })
    await channel.close()
    const reader = await QIOChannelFile.open(file, O_RDONLY)
    const read = iovecs()
    await Coroutine.start(() => reader.readvAll(read))
    t.ok(equalBytes(read, written))
    t.equal(reader.readv(read), 0)
    t.throws(() => reader.writev(iovecs(1, 1)), {
      kind: 'transport',
      message: /writing: bad file descriptor/
    })
    await reader.close()
  }
)

void t.test('I4 file/rdwr: the file has the mode that was asked for', async (t) => {
  const file = path.join(tempDir(t), 'file')
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const channel = await QIOChannelFile.open(file, O_RDWR | O_CREAT | O_EXCL, 0o604)
  t.equal(fs.statSync(file).mode & 0o777, 0o604)
  await channel.close()
})

void t.test('I5 file/fd: a descriptor of a regular file is a file, from where it stands', async (t) => {
  const file = path.join(tempDir(t), 'file')
  fs.writeFileSync(file, '0123456789')
  const fd = fs.openSync(file, 'r')
  fs.readSync(fd, Buffer.alloc(3))
  const channel = QIOChannelFile.fromFd(fd)
  t.type(channel, QIOChannelFile)
  t.ok(channel.features.has('seekable'))
  const iov = iovecs(2, 2)
  t.equal(channel.readv(iov), 4)
  t.equal(Buffer.concat(iov.map(({ memory }) => memory.buffer.subarray(0, 2))).toString(), '3456')
  ;(channel as QIOChannelFile).seek(9)
  t.equal(channel.readv(iov), 1)
  t.equal(iov[0]!.memory.buffer.toString('latin1', 0, 1), '9')
  await channel.close()
  t.throws(() => fs.fstatSync(fd), { code: 'EBADF' })
})

void t.test('I6 socket/ipv4-fd: a descriptor of a socket is a socket', async (t) => {
  const fds = await connectedSockets({ host: '127.0.0.1', port: 0 })
  const channels = fds.map((fd) => QIOChannelFile.fromFd(fd))
  for (const channel of channels) t.type(channel, QIOChannelSocket)
  await Promise.all(channels.map((channel) => channel.close()))
})

void t.test('I7 pipe: a descriptor of a pipe is a channel that waits', async (t) => {
  const { readFd, writeFd } = createPipe(true)
  const reader = QIOChannelFile.fromFd(readFd)
  const writer = QIOChannelFile.fromFd(writeFd)
  t.type(reader, QIOChannelPipe)
  t.notOk(reader.features.has('seekable'))
  t.throws(() => reader.writev(iovecs(1, 1)), { kind: 'transport', message: /not open for writing/ })
  t.throws(() => writer.readv(iovecs(1, 1)), { kind: 'transport', message: /not open for reading/ })
  await Promise.all([reader.close(), writer.close()])
})

void t.test('fifo: one that is open both ways gives back what is written', async (t) => {
  const fifo = makeFifo(t)
  const before = openDescriptors(process.pid).length
  const channel = await QIOChannelFile.open(fifo, O_RDWR)
  const written = iovecs()
  fillPattern(written, 9)
  const read = iovecs()
  await within(
    'the transfer',
    Promise.all([
      Coroutine.start(() => channel.writevAll(written)),
      Coroutine.start(() => channel.readvAll(read))
    ])
  )
  t.ok(equalBytes(read, written))
  await channel.close()
  await waitFor('the descriptors to be closed', () => openDescriptors(process.pid).length <= before)
})

void t.test('file: what cannot be opened is told in one line', async (t) => {
  const folder = tempDir(t)
  await t.rejects(QIOChannelFile.open(path.join(folder, 'none'), O_RDONLY), {
    kind: 'transport',
    message: path.join(folder, 'none: no such file or directory')
  })
})
