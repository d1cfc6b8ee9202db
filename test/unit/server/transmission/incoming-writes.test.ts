import t from 'tap'
import { ExportGate } from '../../../../server/export/export-gate.ts'
import type { NBDExport } from '../../../../server/export/nbd-export.ts'
import { ConnectionState } from '../../../../server/transmission/connection-state.ts'
import { IncomingWrites } from '../../../../server/transmission/incoming-writes.ts'
import { ReceiveLoop } from '../../../../server/transmission/receive-loop.ts'
import type { RequestsInFlight } from '../../../../server/transmission/requests-in-flight.ts'
import type { Transmission } from '../../../../server/transmission/transmission.ts'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { iovLength, QIO_CHANNEL_ERR_BLOCK, QIOChannel, type IOVec } from '../../../../shared/io/channel.ts'
import { receiveWindow, WINDOW_SIZE } from '../../../../shared/io/receive-window.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { newRequest } from '../../../../shared/protocol/messages/request.ts'
import { NBD_CMD_DISC, NBD_CMD_WRITE } from '../../../helpers/raw-constants.ts'
import { MiB, request } from '../../../helpers/raw-wire.ts'

const KiB = 1024

/** A peer whose bytes come in these pieces, each by a receive of its own; before an empty one the thread has to wait. */
class Pieces extends QIOChannel {
  readonly features = new Set<never>()
  readonly #pieces: Buffer[]
  readonly #events: string[]

  constructor(pieces: Buffer[], events: string[]) {
    super()
    this.#pieces = pieces
    this.#events = events
  }

  readv([piece]: readonly IOVec[]): number {
    const next = this.#pieces[0]
    if (!next) return 0
    if (next.length === 0) return QIO_CHANNEL_ERR_BLOCK
    const { memory, start, end } = piece!
    const n = next.copy(memory.buffer, start, 0, end - start)
    if (n === next.length) this.#pieces.shift()
    else this.#pieces[0] = next.subarray(n)
    this.#events.push(`received ${n / KiB} KiB`)
    return n
  }

  writev(iov: readonly IOVec[]): number {
    this.#events.push(`replied to ${iovLength(iov) / 16}`)
    return iovLength(iov)
  }

  *yield(): CoroutineFn {
    this.#events.push('waited')
    if (this.#pieces[0]?.length === 0) this.#pieces.shift()
  }

  wakeRead(): void {
    // Nobody waits.
  }

  shutdown(): void {
    this.#pieces.length = 0
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

/** An export that takes all writes on the spot. */
class Disk {
  readonly size = 64 * MiB
  readonly readOnly = false
  readonly gate = new ExportGate(ExportGate.allocate())
  readonly isDurable = (): boolean => false
  readonly node: object
  readonly content = Buffer.alloc(4 * MiB)

  constructor(events: string[]) {
    const { memory } = receiveWindow()
    this.node = {
      pwriteNowait: (address: number, offset: number, length: number) => {
        const at = address - memory.address
        const inWindow = at >= 0 && at + length <= memory.length
        if (inWindow) memory.buffer.copy(this.content, offset, at, at + length)
        events.push(`wrote ${length / KiB} KiB ${inWindow ? 'from the window' : 'of own memory'}`)
        return true
      }
    }
  }
}

/** Serves a client that sends these bytes in pieces. @returns what happened, and what was written */
async function serve(pieces: Buffer[]): Promise<{ events: string[]; content: Buffer }> {
  const events: string[] = []
  const channel = new Pieces([...pieces], events)
  const disk = new Disk(events)
  const exp = disk as unknown as NBDExport
  const state = new ConnectionState(ConnectionState.allocate(64 * MiB))
  const loop = new ReceiveLoop(channel, { exp, mode: 0, contexts: [] }, state, new WindowReader(channel))
  await Coroutine.start(() => loop.run())
  return { events, content: disk.content }
}

/** A WRITE of so many bytes with its header. */
const write = (byte: number, offset: number, bytes: number): Buffer =>
  request({ type: NBD_CMD_WRITE, offset, payload: Buffer.alloc(bytes - 28, byte) })

const end = request({ type: NBD_CMD_DISC })

void t.test('WRITEs that came together are written from the window, and answered together', async (t) => {
  const sent = [1, 2, 3].map((byte) => write(byte, byte * MiB, 64 * KiB))
  const { events, content } = await serve([Buffer.concat(sent), end])
  const wrote = `wrote ${(64 * KiB - 28) / KiB} KiB from the window`
  t.strictSame(events, ['waited', 'received 192 KiB', wrote, wrote, wrote, 'replied to 3', events[6]])
  for (const byte of [1, 2, 3]) {
    const there = content.subarray(byte * MiB, byte * MiB + 64 * KiB - 28)
    t.ok(there.equals(Buffer.alloc(there.length, byte)))
  }
})

void t.test('a WRITE whose rest is in the socket is written from the window, too', async (t) => {
  const sent = [1, 2, 3].map((byte) => write(byte, byte * MiB, 128 * KiB))
  const all = Buffer.concat([...sent, end])
  const { events, content } = await serve([
    all.subarray(0, 192 * KiB),
    all.subarray(192 * KiB, 208 * KiB),
    all.subarray(208 * KiB)
  ])
  const wrote = `wrote ${(128 * KiB - 28) / KiB} KiB from the window`
  t.strictSame(events.slice(0, 7), [
    ...['waited', 'received 192 KiB', wrote],
    // The client does not wait for this until the next is there.
    'replied to 1',
    ...['received 16 KiB', events[5], wrote]
  ])
  t.match(events[5], /^received/)
  t.equal(events.filter((event) => event === wrote).length, 3)
  t.equal(events.filter((event) => event === 'waited').length, 1, 'it has waited for the first only')
  for (const byte of [1, 2, 3]) {
    const there = content.subarray(byte * MiB, byte * MiB + 128 * KiB - 28)
    t.ok(there.equals(Buffer.alloc(there.length, byte)))
  }
})

void t.test('what the window has no room for, or must be waited for, is received elsewhere', async (t) => {
  const large = write(1, 0, WINDOW_SIZE + 29)
  t.match((await serve([large, end])).events.join(), /wrote [\d.]+ KiB of own memory/)
  const whole = write(1, 0, 128 * KiB)
  const halves = [whole.subarray(0, 64 * KiB), Buffer.alloc(0), whole.subarray(64 * KiB)]
  const { events } = await serve([...halves, end])
  t.strictSame(events.slice(0, 4), ['waited', 'received 64 KiB', 'waited', 'received 64 KiB'])
  t.match(events[4], /of own memory/)
})

void t.test(
  'what is there as a whole is not received again, also when it is longer than one receive',
  async (t) => {
    // As in a share of requests that a thread has kept: what follows it is another request.
    const events: string[] = []
    const reader = new WindowReader(new Pieces([], events))
    const writes = new IncomingWrites({} as Transmission, reader, {} as RequestsInFlight)
    reader.window.end = reader.window.start + WINDOW_SIZE + 2 * KiB
    t.equal(writes.isThere({ ...newRequest(), length: WINDOW_SIZE + KiB }), true)
    t.equal(writes.isThere({ ...newRequest(), length: WINDOW_SIZE + 3 * KiB }), false)
    t.strictSame(events, [])
    reader.window.clear()
  }
)
