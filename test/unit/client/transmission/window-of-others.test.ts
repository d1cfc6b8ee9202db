import t, { type Test } from 'tap'
import { BufferTarget } from '../../../../client/transmission/read-target.ts'
import { Transmission } from '../../../../client/transmission/transmission.ts'
import { SharedConnection } from '../../../../client/sharing/shared-connection.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { giveMemory, keptMemory, takeMemory } from '../../../../shared/io/memory-pool.ts'
import { receiveWindow } from '../../../../shared/io/receive-window.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ } from '../../../helpers/raw-constants.ts'
import { channelPair, type ChannelPair } from '../../../helpers/raw-pair.ts'
import { KiB } from '../../../helpers/raw-wire.ts'
import { waitFor } from '../../../helpers/wait-for.ts'
import { pattern, simpleReply } from '../helpers/reply-bytes.ts'
import { NBD_MODE_SIMPLE } from '../../../../shared/protocol/nbd-mode.ts'

interface Running extends ChannelPair {
  transmission: Transmission
  ended: Promise<Error>
}

async function running(t: Test): Promise<Running> {
  const { channel, peer } = await channelPair(t)
  const options = { mode: NBD_MODE_SIMPLE, contexts: new Map<number, string>() } as const
  const transmission = new Transmission(channel, new WindowReader(channel), options)
  return { channel, peer, transmission, ended: transmission.run() }
}

const flush = { type: NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 }

void t.test('Transmission - a reply that is cut off does not get into another connection', async (t) => {
  const healthy = await running(t)
  const cut = await running(t)
  const length = 256 * KiB
  const memory = Memory.allocate(length)
  memory.buffer.fill(0)
  const target = new BufferTarget(memory.buffer, memory, 0)
  const data = pattern(length)
  const read = healthy.transmission.request({ ...flush, type: NBD_CMD_READ, length, target })
  // More than one receive brings, so that the next one is tried before waiting.
  healthy.peer.write(Buffer.concat([simpleReply(1n), data.subarray(0, 100 * KiB)]))
  await waitFor('the first data', () => memory.buffer[100 * KiB - 1] === data[100 * KiB - 1])

  cut.peer.end(simpleReply(1n).subarray(0, 10))
  t.match(await cut.ended, { message: 'the server closed the connection in the middle of a reply' })

  const flushed = healthy.transmission.request(flush)
  healthy.peer.write(Buffer.concat([data.subarray(100 * KiB), simpleReply(2n)]))
  await read
  await flushed
  t.ok(memory.buffer.equals(data))
  healthy.peer.end()
  t.match(await healthy.ended, { message: 'the server closed the connection' })
})

void t.test('Transmission - whoever joins what is broken leaves the window to its user', async (t) => {
  const { channel } = await channelPair(t)
  const first = SharedConnection.begin(channel)
  const { part, channel: view } = SharedConnection.join(first.handle)
  const options = { mode: NBD_MODE_SIMPLE, contexts: new Map<number, string>() } as const
  const transmission = new Transmission(view, new WindowReader(view), options)
  transmission.join(part, view)
  first.break(new NBDError('transport', 'gone just now'))
  const window = receiveWindow()
  window.end = window.start + 100
  // In the middle of a batch of requests: the first of them is what opens the disk in this thread.
  const ended = transmission.run()
  t.equal(window.length, 100)
  window.clear()
  t.match(await ended, { message: 'gone just now' })
  await view.close()
  first.leave()
})

void t.test(
  'Transmission - the beginning of a reply that never comes is given back at the end',
  async (t) => {
    giveMemory(takeMemory(1))
    const kept = keptMemory()
    const { peer, ended } = await running(t)
    peer.write(simpleReply(1n).subarray(0, 10))
    await waitFor('the beginning to be set aside', () => keptMemory() < kept)
    peer.end()
    await ended
    t.equal(keptMemory(), kept)
  }
)
