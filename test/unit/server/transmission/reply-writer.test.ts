import t from 'tap'
import { ReplyWriter } from '../../../../server/transmission/reply-writer.ts'
import { CoMutex } from '../../../../shared/coroutine/co-mutex.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { iovLength, type IOVec } from '../../../../shared/io/channel.ts'
import { QIOChannelNull } from '../../../../shared/io/channel-null.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { takeMemory } from '../../../../shared/io/memory-pool.ts'
import { WAIT_PIECE } from '../../../../shared/io/socket-writer.ts'
import { EAGAIN } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { send } from '../../../../shared/syscall/socket.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { within } from '../../../helpers/wait-for.ts'

/** What a full socket takes after all, to wait for room with. */
const PIECE = WAIT_PIECE
const FILLER = 4096

/** A reply, more or less: all its bytes are `value`. */
function push(writer: ReplyWriter, value: number): void {
  const memory = takeMemory(PIECE)
  memory.buffer.fill(value, 0, PIECE)
  writer.pushMemory(memory, 0, PIECE)
}

void t.test(
  'beginSharing - replies that end while the last piece is on its way follow it, in order',
  async (t) => {
    const maker = await PairMaker.listen(t)
    const { fd, peer } = await maker.descriptor()
    const channel = new QIOChannelSocket(fd)
    t.teardown(async () => {
      peer.destroy()
      channel.shutdown('both')
      await channel.close()
    })
    peer.pause()
    const errors: unknown[] = []
    const writer = new ReplyWriter(channel, (error) => errors.push(error))

    // The socket is full, and one piece waits for room without anything behind it in the queue.
    const filler = Memory.allocate(FILLER)
    filler.buffer.fill(0)
    let filled = 0
    for (;;) {
      const sent = send(fd, filler.address, FILLER)
      if (sent === -EAGAIN) break
      filled += sent
    }
    push(writer, 1)
    writer.flush()
    t.equal(writer.queuedBytes, 0)

    const lock = new CoMutex()
    let shared = false
    const sharing = Coroutine.start(function* (): CoroutineFn {
      yield* writer.beginSharing(lock)
      shared = true
    })
    t.notOk(shared, 'the last piece is on its way')
    push(writer, 2)
    writer.flush()
    t.ok(writer.blocked)

    const received: Buffer[] = []
    const total = filled + 3 * PIECE
    const all = new Promise<void>((resolve) => {
      peer.on('data', (bytes: Buffer) => {
        received.push(bytes)
        if (received.reduce((sum, { length }) => sum + length, 0) === total) resolve()
      })
    })
    peer.resume()
    await within('the writer to be shared', sharing)
    push(writer, 3)
    writer.flush()
    await within('all bytes', all)
    const bytes = Buffer.concat(received).subarray(filled)
    for (const value of [1, 2, 3])
      t.ok(bytes.subarray((value - 1) * PIECE, value * PIECE).equals(Buffer.alloc(PIECE, value)), `${value}`)
    t.same(errors, [])
  }
)

void t.test('pushMemory - much is sent at once, little when it is flushed', async (t) => {
  const LARGE = 256 * 1024
  const sent: number[] = []
  const channel = new (class extends QIOChannelNull {
    override writev(iov: readonly IOVec[]): number {
      sent.push(iovLength(iov))
      return sent.at(-1)!
    }
  })()
  const writer = new ReplyWriter(channel, () => undefined)
  writer.pushMemory(takeMemory(LARGE), 0, LARGE / 2)
  t.strictSame(sent, [])
  writer.pushMemory(takeMemory(LARGE), 0, LARGE / 2)
  t.strictSame(sent, [LARGE])
  t.equal(writer.queuedBytes, 0)
  writer.pushMemory(takeMemory(LARGE), 0, 1000)
  t.strictSame(sent, [LARGE])
  writer.flush()
  t.strictSame(sent, [LARGE, 1000])
})
