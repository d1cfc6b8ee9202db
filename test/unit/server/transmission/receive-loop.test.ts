import type * as net from 'node:net'
import t, { type Test } from 'tap'
import { ExportGate } from '../../../../server/export/export-gate.ts'
import { ConnectionState } from '../../../../server/transmission/connection-state.ts'
import { ReadAhead } from '../../../../shared/io/read-ahead.ts'
import { ReceiveLoop } from '../../../../server/transmission/receive-loop.ts'
import type { NBDExport } from '../../../../server/export/nbd-export.ts'
import { coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { iovLength, QIO_CHANNEL_ERR_BLOCK, QIOChannel, type IOVec } from '../../../../shared/io/channel.ts'
import type { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import { giveMemory, keptMemory, takeMemory } from '../../../../shared/io/memory-pool.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import {
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_EIO
} from '../../../helpers/raw-constants.ts'
import { channelPair } from '../../../helpers/raw-pair.ts'
import { MiB, request } from '../../../helpers/raw-wire.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

/** An export whose reads end when the test says so. */
class SlowExport {
  readonly size = 1024 * MiB
  readonly readOnly = false
  readonly gate = new ExportGate(ExportGate.allocate())
  readonly reads: {
    memory: Memory
    at: number
    length: number
    resolve: () => void
    reject: (error: Error) => void
  }[] = []
  readonly isDurable = (): boolean => false
  readonly node = {
    map: () => false,
    preadNowait: () => false,
    pwriteNowait: () => true,
    flush: async () => undefined,
    pread: (memory: Memory, at: number, _offset: number, length: number) =>
      new Promise<void>((resolve, reject) => this.reads.push({ memory, at, length, resolve, reject }))
  }
}

interface Served {
  channel: QIOChannelSocket
  peer: net.Socket
  loop: ReceiveLoop
  /** The connection's state as another thread has it. */
  elsewhere: ConnectionState
  slow: SlowExport
  send: (...bytes: Buffer[]) => void
  /** How much has come back, and the first part of it. */
  received: { length: number; head: Buffer }
  ended: Promise<void>
}

async function serve(t: Test): Promise<Served> {
  const { channel, peer } = await channelPair(t)
  const slow = new SlowExport()
  const received = { length: 0, head: Buffer.alloc(1024) }
  peer.on('data', (bytes) => {
    bytes.copy(received.head, Math.min(received.length, received.head.length))
    received.length += bytes.length
  })
  const exp = slow as unknown as NBDExport
  const memory = ConnectionState.allocate(64 * MiB)
  const state = new ConnectionState(memory)
  const loop = new ReceiveLoop(channel, { exp, mode: 0, contexts: [] }, state, new WindowReader(channel))
  return {
    channel,
    peer,
    loop,
    elsewhere: new ConnectionState(memory),
    slow,
    send: (...bytes) => void peer.write(Buffer.concat(bytes)),
    received,
    ended: Coroutine.start(() => loop.run())
  }
}

void t.test(
  'ReceiveLoop - goes on when all that filled its 64 MiB ends in one round of the loop',
  async (t) => {
    const { slow, send, received, ended } = await serve(t)
    const length = 32 * MiB
    const read = request({ type: NBD_CMD_READ, length })
    send(read, read, request({ type: NBD_CMD_FLUSH }), request({ type: NBD_CMD_DISC }))
    await waitFor('both reads', () => slow.reads.length === 2)
    for (const { resolve } of slow.reads) resolve()
    await waitFor('all replies', () => received.length === 2 * (16 + length) + 16, 8000)
    await ended
  }
)

void t.test('ReceiveLoop - takes no more requests while 64 MiB are in flight', async (t) => {
  const { slow, send, received, ended } = await serve(t)
  const length = 16 * MiB
  const reads = Array.from({ length: 10 }, (_, i) =>
    request({ type: NBD_CMD_READ, cookie: BigInt(i), length })
  )
  send(...reads, request({ type: NBD_CMD_DISC }))
  for (let done = 0; done < 10; done++) {
    await waitFor('a read to start', () => slow.reads.length > done)
    t.ok(slow.reads.length - done <= 4, `${slow.reads.length - done} in flight`)
    slow.reads[done]!.resolve()
    await waitFor('its reply', () => received.length === (done + 1) * (16 + length))
  }
  await ended
})

void t.test(
  'ReceiveLoop - replies go out as they are ready, and a failed request harms no other',
  async (t) => {
    const { slow, send, received, ended } = await serve(t)
    const reads = Array.from({ length: 4 }, (_, i) =>
      request({ type: NBD_CMD_READ, cookie: BigInt(i), length: 4 })
    )
    send(...reads, request({ type: NBD_CMD_DISC }))
    await waitFor('four reads', () => slow.reads.length === 4)
    const [first, second, third, fourth] = slow.reads
    const ready = async (act: () => void, length: number): Promise<Buffer> => {
      const before = received.length
      act()
      await waitFor('its reply', () => received.length >= before + length)
      return received.head.subarray(before, received.length)
    }
    const third_ = await ready(() => {
      third!.memory.buffer.write('data', third!.at)
      third!.resolve()
    }, 20)
    t.strictSame([third_.readBigUInt64BE(8), third_.toString('latin1', 16)], [2n, 'data'])
    const failed = await ready(() => first!.reject(new NBDError('request', 'bad disk', { errno: 5 })), 16)
    t.strictSame([failed.readBigUInt64BE(8), failed.readUInt32BE(4)], [0n, NBD_EIO])
    const broken = await ready(() => fourth!.reject(new NBDError('request', 'odd', { errno: 95 })), 16)
    t.strictSame([broken.readBigUInt64BE(8), broken.readUInt32BE(4)], [3n, NBD_EINVAL], 'R32')
    const last = await ready(() => second!.resolve(), 20)
    t.equal(last.readBigUInt64BE(8), 1n)
    await ended
  }
)

void t.test('ReceiveLoop - with DISC it ends only when what is in flight has been answered', async (t) => {
  const { slow, send, received, ended } = await serve(t)
  send(request({ type: NBD_CMD_READ, length: 4 }), request({ type: NBD_CMD_DISC }))
  await waitFor('the read', () => slow.reads.length === 1)
  let over = false
  void ended.then(() => (over = true))
  await new Promise((resolve) => setImmediate(resolve))
  t.notOk(over)
  slow.reads[0]!.resolve()
  await ended
  await waitFor('the reply', () => received.length === 20)
})

/** Sends to a peer that does not read, until the last piece has to wait. @returns how many bytes */
function fill({ channel, peer }: Served): number {
  peer.pause()
  const memory = Memory.allocate(64 * 1024)
  let sent = 0
  for (;;) {
    const n = channel.writev([{ memory, start: 0, end: memory.length }])
    if (n === QIO_CHANNEL_ERR_BLOCK) return sent
    sent += n
  }
}

const share = async ({ loop }: Served): Promise<void> => {
  const { fd } = await loop.share({ readAhead: new ReadAhead(ReadAhead.allocate()) })
  closeFd(fd)
}

void t.test('ReceiveLoop - while it waits to be shared, replies wait, too', async (t) => {
  const served = await serve(t)
  const { slow, send, received, ended, peer } = served
  send(request({ type: NBD_CMD_READ, length: 4 }))
  await waitFor('the read', () => slow.reads.length === 1)
  const filled = fill(served)
  const shared = share(served)
  slow.reads[0]!.resolve()
  await new Promise((resolve) => setTimeout(resolve))
  peer.resume()
  await shared
  await waitFor('the reply', () => received.length === filled + 20)
  send(request({ type: NBD_CMD_DISC }))
  await ended
})

void t.test('ReceiveLoop - while it waits to be shared, it keeps nothing in the window', async (t) => {
  const served = await serve(t)
  const { send, received, ended, peer } = served
  const other = await serve(t)
  const filled = fill(served)
  const flush = request({ type: NBD_CMD_FLUSH })
  send(flush.subarray(0, 10))
  const shared = share(served)
  other.send(flush)
  await waitFor('the reply to another connection', () => other.received.length === 16)
  peer.resume()
  await shared
  send(flush.subarray(10), request({ type: NBD_CMD_DISC }))
  await waitFor('the reply', () => received.length === filled + 16)
  await ended
  other.send(request({ type: NBD_CMD_DISC }))
  await other.ended
})

void t.test('ReceiveLoop - stopped in the middle of a payload, it answers what is in flight', async (t) => {
  const { slow, send, received, ended, loop } = await serve(t)
  send(
    request({ type: NBD_CMD_READ, length: 4 }),
    request({ type: NBD_CMD_WRITE, payload: Buffer.alloc(8192) }).subarray(0, 5000)
  )
  await waitFor('the read', () => slow.reads.length === 1)
  loop.stop()
  slow.reads[0]!.resolve()
  await ended
  await waitFor('the reply', () => received.length === 20)
})

void t.test('ReceiveLoop - an abort does not wait for a thread that died while it sent', async (t) => {
  const served = await serve(t)
  const { slow, send, ended, loop, elsewhere } = served
  await share(served)
  let release = (): void => undefined
  const released = new Promise<void>((resolve) => (release = resolve))
  const { sendLock } = elsewhere
  const holder = Coroutine.start(function* () {
    yield* sendLock.lock()
    yield* coAwait(released)
    sendLock.unlock()
  })
  send(request({ type: NBD_CMD_READ, length: 4 }))
  await waitFor('the read', () => slow.reads.length === 1)
  slow.reads[0]!.resolve()
  await waitFor('its reply to be ready', () => elsewhere.requests === 0)
  // It finds that the reply before it is not sent.
  send(request({ type: NBD_CMD_FLUSH }))
  await new Promise((resolve) => setTimeout(resolve))
  loop.abort()
  await ended
  // It has not died, after all: whoever waits for it still wakes up, and does no harm.
  release()
  await holder
})

void t.test('ReceiveLoop - an abort does not wait for what a dead thread had in flight', async (t) => {
  const { send, ended, loop, elsewhere } = await serve(t)
  for (let i = 0; i < 1024; i++) elsewhere.begin(0)
  send(request({ type: NBD_CMD_FLUSH }))
  await waitFor('the request to wait', () => !elsewhere.room.empty)
  loop.abort()
  await ended
})

/** A peer that has sent more whenever we look, until it has sent `left` windows full of writes. */
class BusyPeer extends QIOChannel {
  readonly features = new Set<never>()
  left = 2000
  onEnd = (): void => undefined
  readonly #writes: Buffer

  constructor() {
    super()
    const write = request({ type: NBD_CMD_WRITE, payload: Buffer.alloc(32 * 1024 - 28) })
    this.#writes = Buffer.concat([write, write])
  }

  readv([piece]: readonly IOVec[]): number {
    if (this.left-- > 0) return this.#writes.copy(piece!.memory.buffer, piece!.start)
    this.onEnd()
    return 0
  }

  writev(iov: readonly IOVec[]): number {
    return iovLength(iov)
  }

  *yield(): CoroutineFn {
    // It never waits.
  }

  wakeRead(): void {
    // Nobody waits.
  }

  shutdown(): void {
    this.left = 0
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

void t.test('ReceiveLoop - a client that never lets it wait does not keep others waiting', async (t) => {
  const channel = new BusyPeer()
  const exp = new SlowExport() as unknown as NBDExport
  const state = new ConnectionState(ConnectionState.allocate(64 * MiB))
  const loop = new ReceiveLoop(channel, { exp, mode: 0, contexts: [] }, state, new WindowReader(channel))
  const order: string[] = []
  setImmediate(() => order.push('others'))
  channel.onEnd = () => order.push('end')
  await Coroutine.start(() => loop.run())
  t.strictSame(order, ['others', 'end'])
  t.equal(state.counters.requests, 4000)
})

void t.test(
  'ReceiveLoop - the beginning of a request that never comes is given back at the end',
  async (t) => {
    giveMemory(takeMemory(1))
    const kept = keptMemory()
    const { loop, ended, send } = await serve(t)
    send(request({ type: NBD_CMD_FLUSH }).subarray(0, 10))
    await waitFor('the beginning to be set aside', () => keptMemory() < kept)
    loop.stop()
    await ended
    t.equal(keptMemory(), kept)
  }
)
