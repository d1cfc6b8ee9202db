import * as fs from 'node:fs'
import t from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK } from '../../../../shared/io/channel.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { socketPair } from '../../../helpers/socket-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { iovecs } from './channel-validator.ts'

/** Descriptors of the kinds that these tests open. */
const concerned = (): number =>
  openDescriptors(process.pid).filter((target) => /^socket:|^\/dev\/null$/.test(target)).length

void t.test(
  'I15 unix-fd-pass: descriptors come through a channel, also to a reader that waits',
  async (t) => {
    // The first stream of a loop makes libuv open /dev/null, for good.
    await Promise.all(socketPair().map((fd) => new QIOChannelSocket(fd).close()))
    const before = concerned()
    const [a, b] = socketPair().map((fd) => new QIOChannelSocket(fd)) as [QIOChannelSocket, QIOChannelSocket]
    for (const waits of [false, true]) {
      const [piece] = iovecs(1, 12)
      const [sent] = iovecs(1, 12)
      sent!.memory.buffer.write('Hello World!')
      const fds = [0, 1, 2].map(() => fs.openSync('/dev/null', 'r'))
      const send = (): boolean => t.equal(a.writevFds(sent!, fds), 12)
      if (!waits) send()
      const reading = Coroutine.start(() => b.readvFds(piece!))
      for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
      if (waits) send()
      const { n, fds: passed } = await within('the descriptors', reading)
      t.equal(n, 12)
      t.equal(piece!.memory.buffer.toString('latin1', 0, 12), 'Hello World!')
      t.equal(new Set([...passed, ...fds]).size, 6)
      for (const fd of passed) t.ok(fs.fstatSync(fd).isCharacterDevice())
      ;[...passed, ...fds].forEach(closeFd)
    }
    await Promise.all([a.close(), b.close()])
    await waitFor('the descriptors to be closed', () => concerned() <= before)
  }
)

void t.test('fd-pass - a reader that waits is woken by shutdown, close and the end', async (t) => {
  for (const end of ['shutdown', 'close', 'peer'] as const) {
    const [a, b] = socketPair().map((fd) => new QIOChannelSocket(fd)) as [QIOChannelSocket, QIOChannelSocket]
    const [piece] = iovecs(1, 1)
    const reading = Coroutine.start(() => b.readvFds(piece!))
    const outcome = reading.then(
      ({ n }) => `${n} bytes`,
      (error: Error) => error.message
    )
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
    if (end === 'shutdown') b.shutdown('both')
    const closed = end === 'close' ? b.close() : end === 'peer' ? a.close() : undefined
    t.equal(await within(end, outcome), end === 'close' ? 'the channel is closed' : '0 bytes')
    await Promise.all([closed, a.close(), b.close()])
  }
})

void t.test('fd-pass - into a full socket none goes', async (t) => {
  const [a, b] = socketPair(4096).map((fd) => new QIOChannelSocket(fd)) as [
    QIOChannelSocket,
    QIOChannelSocket
  ]
  const [piece] = iovecs(1, 4096)
  let n = 0
  while (n !== QIO_CHANNEL_ERR_BLOCK) n = a.writev([piece!])
  t.equal(a.writevFds(piece!, [0]), QIO_CHANNEL_ERR_BLOCK)
  for (const channel of [a, b]) channel.shutdown('both')
  await Promise.all([a.close(), b.close()])
})
