import t, { type Test } from 'tap'
import { ExportGate } from '../../../../server/export/export-gate.ts'
import { ConnectionState } from '../../../../server/transmission/connection-state.ts'
import { ReceiveLoop } from '../../../../server/transmission/receive-loop.ts'
import type { NBDExport } from '../../../../server/export/nbd-export.ts'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import type { Memory } from '../../../../shared/syscall/memory.ts'
import {
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
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
  readonly node = {
    map: () => false,
    preadNowait: () => false,
    flush: async () => undefined,
    pread: (memory: Memory, at: number, _offset: number, length: number) =>
      new Promise<void>((resolve, reject) => this.reads.push({ memory, at, length, resolve, reject }))
  }
}

interface Served {
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
  const state = new ConnectionState(ConnectionState.allocate(64 * MiB))
  const loop = new ReceiveLoop(channel, { exp, mode: 0, contexts: [] }, state, new WindowReader(channel))
  return {
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
