import * as crypto from 'node:crypto'
import t from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { openSockets } from '../../../helpers/proc.ts'
import { channelPair } from '../../../helpers/raw-pair.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { send, whole } from './channel-bytes.ts'

interface End {
  channel: QIOChannelSocket
  reader: WindowReader
}

const newEnd = (channel: QIOChannelSocket): End => ({ channel, reader: new WindowReader(channel) })

/** The next `length` bytes; undefined at the end of the stream. */
async function read(reader: WindowReader, length: number): Promise<Buffer | undefined> {
  const memory = Memory.allocate(length)
  const isThere = await Coroutine.start(() => reader.readAllEof(memory, 0, length))
  return isThere ? Buffer.from(memory.buffer.subarray(0, length)) : undefined
}

/** Gives a connection to a new channel of this thread. */
async function moved({ channel, reader }: End): Promise<End> {
  const { fd, unread } = channel.detach()
  const next = newEnd(new QIOChannelSocket(fd))
  next.reader.putUnread(Buffer.concat([reader.takeUnread(), unread]))
  await channel.close()
  return next
}

void t.test('detach - what was received and not read goes with the descriptor', async (t) => {
  const { channel, peer } = await channelPair(t)
  peer.write('abcdef')
  const first = newEnd(channel)
  t.equal(String(await read(first.reader, 2)), 'ab')
  await new Promise((resolve) => peer.write('ghi', resolve))
  const { channel: other, reader } = await moved(first)
  peer.write('jkl')
  t.equal(String(await read(reader, 10)), 'cdefghijkl')
  const answered = new Promise((resolve) => peer.once('data', resolve))
  await send(other, 'xyz')
  t.equal(String(await answered), 'xyz')
  peer.end()
  t.equal(await read(reader, 1), undefined, 'the end of the stream is seen there')
  await other.close()
})

void t.test('detach - 200 times in a stream that never stops, and no byte is lost or doubled', async (t) => {
  const { channel, peer } = await channelPair(t)
  const sockets = openSockets(process.pid)
  const bytes = crypto.randomBytes(4 * 1024 * 1024)
  let at = 0
  let wrong = 0
  let end = newEnd(channel)
  // Waits for the first bytes, so that node:net is at work on this channel.
  const begun = read(end.reader, 1)
  peer.write(bytes)
  if ((await begun)?.[0] !== bytes[at++]) wrong++
  for (let i = 0; i < 200; i++) {
    end = await moved(end)
    const n = 1 + ((i * 7919) % 20_000)
    if (!(await read(end.reader, n))?.equals(bytes.subarray(at, at + n))) wrong++
    at += n
  }
  t.equal(wrong, 0)
  end.channel.shutdown('both')
  await end.channel.close()
  await waitFor('the descriptors to be closed', () => openSockets(process.pid) < sockets)
})

void t.test('detach - of a channel that is read, or has ended, is refused', async (t) => {
  const { channel } = await channelPair(t)
  const reading = read(new WindowReader(channel), 1)
  t.throws(() => channel.detach(), { kind: 'bug', message: /a coroutine reads/ })
  channel.shutdown('both')
  t.equal(await reading, undefined)
  t.throws(() => channel.detach(), { kind: 'transport', message: /closed/ })
})

void t.test('detach - nothing can be sent or received here any more', async (t) => {
  const { channel } = await channelPair(t)
  closeFd(channel.detach().fd)
  const piece = whole(Memory.allocate(1))
  const closed = { kind: 'transport', message: /the channel is closed/ }
  t.throws(() => channel.writev(piece), closed)
  t.throws(() => channel.readv(piece), closed)
  await within('the close', channel.close())
})
