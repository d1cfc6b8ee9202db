import t from 'tap'
import type { ConnectionState } from '../../../../server/transmission/connection-state.ts'
import { RequestGathering } from '../../../../server/transmission/request-gathering.ts'
import { RequestsInFlight } from '../../../../server/transmission/requests-in-flight.ts'
import type { Transmission } from '../../../../server/transmission/transmission.ts'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { coAwait } from '../../../../shared/coroutine/aio-co.ts'
import { WOKEN, type WindowReader } from '../../../../shared/io/window-reader.ts'
import { newRequest } from '../../../../shared/protocol/messages/request.ts'
import { KiB } from '../../../helpers/raw-wire.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

const nothing = (): void => undefined

/** Bytes of a request, and of a reply with its data. */
const REQUEST = 28
const REPLY = 4 * KiB

/** Who tells what a client has in flight: the kernel, by what is unread of a Unix socket; or nobody. */
type Told = 'told' | 'not told'

/** A client that has so many requests in flight, and sends some while the thread sleeps. */
class Client {
  inFlight = 16
  /** Bytes of data in each reply. */
  reply = REPLY
  /** Requests that come in each sleep. */
  sends = 4
  /** How often the thread has slept, and looked for requests. */
  slept = 0
  readonly gathering: RequestGathering

  constructor(told: Told) {
    const window = { length: 0 }
    const unreadByPeer = (): number | undefined =>
      told === 'told' ? this.inFlight * (REPLY + 600) : undefined
    const receiveNow = (): number => {
      this.slept++
      const sent = Math.min(this.sends, this.inFlight - window.length / REQUEST)
      window.length += sent * REQUEST
      return sent > 0 ? sent * REQUEST : WOKEN
    }
    const reader = { window, channel: { unreadByPeer }, receiveNow } as unknown as WindowReader
    this.gathering = new RequestGathering(reader)
    this.#window = window
  }

  readonly #window: { length: number }

  /** So many batches, of two reads each. @returns whether requests have come together behind the last one */
  batches(count: number, isQuiet = true): boolean {
    let found = false
    for (let i = 0; i < count; i++) {
      this.#window.length = 0
      this.gathering.batchDone(isQuiet, { requests: 2, received: 2 * REQUEST, sent: 2 * this.reply })
      found = this.gathering.gather()
    }
    return found
  }

  /** The client has had the thread to itself for some time, and what it has in flight is known. */
  settle(): this {
    for (let i = 0; this.slept === 0; i++) {
      if (i > 1000) throw new Error('the thread never sleeps')
      this.batches(1)
    }
    this.slept = 0
    return this
  }
}

for (const told of ['told', 'not told'] as const) {
  const name = (text: string): string => `gather, ${told} what is in flight - ${text}`

  void t.test(name('lets requests come together, behind each batch'), async (t) => {
    const client = new Client(told).settle()
    t.equal(client.batches(500), true)
    t.equal(client.gathering.found, true)
    t.equal(client.slept, 500)
  })

  void t.test(name('not before the connection has had the thread to itself for a while'), async (t) => {
    const client = new Client(told)
    t.equal(client.batches(16), false)
    t.equal(client.slept, 0)
    t.equal(client.batches(1), true)
  })

  void t.test(name('not while another connection of the thread has requests'), async (t) => {
    const [one, other] = [new Client(told).settle(), new Client(told)]
    for (let i = 0; i < 100; i++) {
      t.equal(other.batches(1), false)
      t.equal(one.batches(1), false)
    }
    t.equal(one.slept + other.slept, 0)
  })

  void t.test(name('not behind a batch of which something is left to be done'), async (t) => {
    const client = new Client(told).settle()
    t.equal(client.batches(1, false), false)
    t.equal(client.gathering.found, false)
    t.equal(client.batches(16), false)
    t.equal(client.slept, 0)
    t.equal(client.batches(1), true)
  })

  void t.test(name('not when the thread has other work'), async (t) => {
    const client = new Client(told).settle()
    AioContext.current().notify()
    t.equal(client.batches(10), false)
    t.equal(client.slept, 0)
    await new Promise(setImmediate)
  })

  void t.test(name('not while another connection of the thread waits for a disk'), async (t) => {
    const client = new Client(told).settle()
    const transmission = {
      exp: { gate: { enterAgain: nothing, leave: nothing } },
      writer: { flush: nothing }
    } as unknown as Transmission
    const state = { begin: nothing, done: nothing } as unknown as ConnectionState
    const other = new RequestsInFlight(transmission, state)
    let end = nothing
    const disk = new Promise<void>((resolve) => (end = resolve))
    other.start(newRequest(), 0, coAwait(disk))
    t.equal(client.batches(10), false)
    t.equal(client.slept, 0)
    end()
    await waitFor('the request to end', () => other.count === 0)
    await new Promise(setImmediate)
    t.equal(client.batches(10), true)
    other.delete()
    await new Promise(setImmediate)
  })

  void t.test(name('rests where the client is so quick that no sleep is short enough'), async (t) => {
    const client = new Client(told).settle()
    client.sends = 16
    client.batches(64)
    const { slept } = client
    t.ok(slept > 0 && slept < 64, `${slept} times`)
    t.equal(client.batches(slept), false)
    t.equal(client.slept, slept)
    client.batches(1)
    t.ok(client.slept > slept, 'and tries again')
  })

  void t.test(name('rests where the client is so slow that the longest sleep brings nothing'), async (t) => {
    const client = new Client(told).settle()
    client.sends = 0
    client.batches(64)
    const { slept } = client
    t.ok(slept > 0 && slept < 64, `${slept} times`)
    client.batches(slept)
    t.equal(client.slept, slept)
    t.equal(client.gathering.found, false)
    client.sends = 4
    t.equal(client.batches(1), true, 'and tries again')
  })
}

void t.test('gather - a client that has fewer than four replies to read is asked now and then', async (t) => {
  const client = new Client('told').settle()
  client.inFlight = 3
  t.equal(client.batches(90), false)
  t.equal(client.slept, 0)
  client.inFlight = 5
  t.equal(client.batches(9), true)
})

void t.test('gather - of replies without data a Unix socket tells nothing', async (t) => {
  const client = new Client('told').settle()
  client.reply = 0
  t.equal(client.batches(90), false)
  t.equal(client.slept, 0)
})

void t.test(
  'gather - what a client has in flight is found out by answering nothing for a moment',
  async (t) => {
    const client = new Client('not told')
    client.inFlight = 14
    client.batches(16)
    t.equal(client.batches(1), true)
    t.equal(client.slept, 4 + 2, 'until nothing more comes')
    t.equal(client.batches(1), true)
    t.equal(client.slept, 4 + 2 + 1)
  }
)

void t.test('gather - a client that has little in flight is left alone for long', async (t) => {
  const client = new Client('not told')
  client.inFlight = 3
  client.batches(16)
  t.equal(client.batches(1), true)
  t.equal(client.slept, 1 + 2)
  t.equal(client.batches(4096), false)
  t.equal(client.slept, 1 + 2)
  client.batches(1)
  t.equal(client.slept, 2 * (1 + 2))
})

void t.test('gather - a client that has much in flight is looked at again', async (t) => {
  const client = new Client('not told')
  client.batches(17)
  const { slept } = client
  client.batches(1024)
  t.equal(client.slept, slept + 1024)
  client.inFlight = 2
  client.batches(1)
  t.equal(client.slept, slept + 1024 + 1 + 2)
  client.batches(100)
  t.equal(client.slept, slept + 1024 + 1 + 2)
})

void t.test('gather - a client that has less in flight than it had is noticed', async (t) => {
  const client = new Client('not told').settle()
  client.inFlight = 1
  client.batches(100)
  const { slept } = client
  client.batches(1000)
  t.ok(client.slept - slept <= 3, `${client.slept} times after ${slept}`)
})

void t.test('gather - finding out has an end', async (t) => {
  const client = new Client('not told')
  client.inFlight = 1e6
  client.batches(17)
  t.equal(client.slept, 20)
})
