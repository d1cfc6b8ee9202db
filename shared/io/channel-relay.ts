/**
 * A socket in place of a channel that is none: one end of a pair of Unix sockets, between whose other end and the channel
 * bytes go back and forth. So what can be done with sockets only, sharing one between threads for example, can be done with
 * a TLS connection, a WebSocket or a stream. That itself stays where it is.
 *
 * @context the thread of the channel
 */
import { Coroutine, type CoroutineFn } from '../coroutine/coroutine.ts'
import { Memory } from '../syscall/memory.ts'
import { socketPair } from '../syscall/socket.ts'
import { QIOChannelSocket } from './channel-socket.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from './channel.ts'
import { WINDOW_SIZE } from './receive-window.ts'

/** Bytes that are moved at a time. */
const MOVE_SIZE = WINDOW_SIZE

export class ChannelRelay {
  /** What takes the channel's place: its user's to close, which ends the relay, and closes the channel. */
  readonly near: QIOChannelSocket
  /** Resolves when all is closed. What has gone wrong, the user of `near` sees as the end of the stream. */
  readonly ended: Promise<void>

  /**
   * @param far the relay's from now on
   * @param received what was read of it already, at most WINDOW_SIZE bytes
   * @throws NBDError of kind `request` (EMFILE)
   */
  constructor(far: QIOChannel, received: Buffer) {
    const [fd, other] = socketPair()
    const end = new QIOChannelSocket(other)
    end.enlargeSendBuffer()
    this.near = new QIOChannelSocket(fd)
    this.ended = relay(far, end, received)
  }
}

async function relay(far: QIOChannel, end: QIOChannelSocket, received: Buffer): Promise<void> {
  // Whichever side ends first, with an error or without, the other hears of it by its end, behind all that was sent.
  await Promise.race([move(end, far), move(far, end, received)]).catch(() => undefined)
  await Promise.all([end.close(), far.close()])
}

/** @param first goes ahead of what is read */
const move = (from: QIOChannel, to: QIOChannel, first?: Buffer): Promise<void> =>
  Coroutine.start(function* (): CoroutineFn {
    const memory = Memory.allocate(MOVE_SIZE)
    const ahead = first?.copy(memory.buffer) ?? 0
    if (ahead > 0) yield* to.writevAll([{ memory, start: 0, end: ahead }])
    for (;;) {
      const n = from.readv([{ memory, start: 0, end: memory.length }])
      if (n === 0) return
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* from.yield('in')
      else yield* to.writevAll([{ memory, start: 0, end: n }])
    }
  })
