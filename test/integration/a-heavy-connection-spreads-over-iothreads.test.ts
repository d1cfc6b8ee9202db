import * as crypto from 'node:crypto'
import t from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { setLogLevel } from '../../shared/log/log.ts'
import { serveBusy, type BusyServer } from '../helpers/busy-server.ts'
import { DIE } from '../helpers/raw-entry-points.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { atWork, keepReading, requestsById } from '../helpers/spread-client.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

setLogLevel('silent')

const KiB = 1024
const MiB = 1024 * KiB

/** Runs `work` again and again, so many times at once, until `enough` says so. */
async function keepBusy(depth: number, work: () => Promise<void>, enough: () => boolean): Promise<void> {
  const worker = async (): Promise<void> => {
    while (!enough()) await work()
  }
  await Promise.all(Array.from({ length: depth }, worker))
}

/** Fills the disk with bytes that tell their place. @returns them */
async function fill(disk: NBDDisk): Promise<Buffer> {
  const bytes = crypto.randomBytes(disk.size)
  await disk.write(0, bytes)
  return bytes
}

void t.test('one connection - several heavy requests at a time are served by several threads', async (t) => {
  const served = await serveBusy(t, { threads: 3, size: 4 * MiB, busyMs: 1 })
  const disk = await connect(served.uri)
  const bytes = await fill(disk)
  const before = await requestsById(served.server)
  let spread = false
  const watching = waitFor('all threads to take part', async () => {
    spread = (await atWork(served.server, before)) === 3
    return spread
  })
  await keepBusy(
    16,
    async () => {
      const offset = crypto.randomInt(bytes.length - 64 * KiB)
      const length = crypto.randomInt(1, 64 * KiB)
      const read = await disk.read(offset, length)
      if (!read.equals(bytes.subarray(offset, offset + length))) t.fail(`wrong data at ${offset}`)
    },
    () => spread
  )
  await watching
  const { connections, iothreads } = await served.server.counters()
  t.equal(connections.length, 1)
  t.equal(connections[0]!.threads, 3)
  t.ok(connections[0]!.handOvers > 0, `${connections[0]!.handOvers} hand-overs`)
  const total = iothreads.reduce((sum, { requests }) => sum + requests, 0)
  t.equal(total, connections[0]!.requests, 'each request was taken by one thread')
  await disk.close()
})

void t.test('one connection - heavy requests one at a time stay in one thread', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 1 })
  const disk = await connect(served.uri)
  for (let i = 0; i < 200; i++) await disk.read(0, 4 * KiB)
  const { connections, iothreads } = await served.server.counters()
  t.equal(connections[0]!.threads, 1)
  t.equal(connections[0]!.handOvers, 0)
  t.equal(iothreads.filter(({ requests }) => requests > 0).length, 1)
  await disk.close()
})

void t.test('one connection - light requests stay in one thread, however many at a time', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 0 })
  const disk = await connect(served.uri)
  let done = 0
  const read = async (): Promise<void> => {
    await disk.read(0, 512)
    done++
  }
  // Code that runs for the first times is slow.
  await keepBusy(64, read, () => done >= 5000)
  const before = (await served.server.counters()).connections[0]!
  await keepBusy(64, read, () => done >= 15_000)
  const after = (await served.server.counters()).connections[0]!
  const handOvers = after.handOvers - before.handOvers
  // A thread that the system takes the processor from looks busy for a moment.
  t.ok(handOvers <= (after.requests - before.requests) / 100, `${handOvers} hand-overs`)
  await disk.close()
})

for (const threads of [1, 2, 4]) {
  void t.test(`integrity - random requests, 64 in flight, ${threads} threads`, async (t) => {
    const served = await serveBusy(t, { threads, size: 16 * MiB, busyMs: 2 })
    const disk = await connect(served.uri)
    const shadow = await fill(disk)
    // Each lane has a part of the disk of its own, so that it knows what must be there.
    const lanes = 64
    const part = shadow.length / lanes
    const lane = async (number: number): Promise<void> => {
      for (let i = 0; i < 40; i++) {
        const length = crypto.randomInt(1, crypto.randomInt(2, part))
        const offset = number * part + crypto.randomInt(part - length)
        const kind = crypto.randomInt(10)
        if (kind < 4) {
          const bytes = crypto.randomBytes(length)
          await disk.write(offset, bytes, { fua: kind === 0 })
          bytes.copy(shadow, offset)
        } else if (kind === 4) {
          await disk.zero(offset, length)
          shadow.fill(0, offset, offset + length)
        } else if (kind === 5) {
          await disk.flush()
        } else {
          const read = await disk.read(offset, length)
          if (!read.equals(shadow.subarray(offset, offset + length))) t.fail(`wrong data at ${offset}`)
        }
      }
    }
    await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
    t.ok((await disk.read(0, shadow.length)).equals(shadow))
    await disk.close()
  })
}

/** A connection that several threads serve. */
async function spreadConnection(served: BusyServer): Promise<{
  disk: NBDDisk
  /** Rejects when the connection is lost. */
  busy: Promise<void>
  stop: () => Promise<void>
}> {
  const disk = await connect(served.uri)
  let enough = false
  const busy = keepBusy(
    8,
    async () => {
      await disk.read(0, 4 * KiB)
    },
    () => enough
  )
  await waitFor('hand-overs', async () => (await served.server.counters()).connections[0]!.handOvers > 20)
  return {
    disk,
    busy,
    stop: async () => {
      enough = true
      await busy
    }
  }
}

void t.test('drain - nothing is in flight in any thread, and all goes on afterwards', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 1 })
  const { disk, stop } = await spreadConnection(served)
  for (let i = 0; i < 20; i++) {
    await within('the drain', served.server.drain(''))
    const before = (await served.server.counters()).connections[0]!.requests
    await new Promise((resolve) => setImmediate(resolve))
    t.equal((await served.server.counters()).connections[0]!.requests, before)
    served.server.resume('')
    await disk.read(0, 1)
  }
  await stop()
  await disk.close()
  t.throws(() => served.server.resume(''), NBDError)
})

void t.test('end - a client that leaves, or vanishes, leaves nothing behind in any thread', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 1 })
  const { disk, stop } = await spreadConnection(served)
  await stop()
  await disk.close()
  await waitFor('the end', async () => (await served.server.counters()).connections.length === 0)

  const client = await RawClient.transmit(t, served)
  const busy = keepReading(client, 0, 4 * KiB)
  await waitFor('hand-overs', async () => (await served.server.counters()).connections[0]!.handOvers > 5)
  client.socket.destroy()
  await busy
  await waitFor('the end', async () => (await served.server.counters()).connections.length === 0)
})

void t.test('end - the server ends with a connection that several threads serve', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 1 })
  const { busy } = await spreadConnection(served)
  const lost = t.rejects(within('the client', busy), NBDError)
  await within('the close', served.server.close(10_000))
  await lost
})

void t.test('fault - a connection of which one thread dies is ended, and others are served on', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 1 })
  const { busy } = await spreadConnection(served)
  const lost = t.rejects(within('the client', busy), NBDError)
  // The first thread is the one where the connection began.
  await served.threads[1]!.run(DIE, 'out of luck').catch(() => undefined)
  await lost
  const again = await connect(served.uri)
  t.equal((await again.read(0, 10)).length, 10)
  await again.close()
})

void t.test('fault - when the thread dies where the connection began, the others let it go', async (t) => {
  const served = await serveBusy(t, { threads: 2, size: MiB, busyMs: 1 })
  const { busy } = await spreadConnection(served)
  const lost = t.rejects(within('the client', busy), NBDError)
  await served.threads[0]!.run(DIE, 'out of luck').catch(() => undefined)
  await lost
  // What the dead thread had in flight does not hold up a drain.
  await within('the drain', served.server.drain(''))
  served.server.resume('')
  const again = await connect(served.uri)
  t.equal((await again.read(0, 10)).length, 10)
  await again.close()
})
