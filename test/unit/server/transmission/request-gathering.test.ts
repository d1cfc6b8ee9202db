import t from 'tap'
import { RequestGathering } from '../../../../server/transmission/request-gathering.ts'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { WOKEN, type WindowReader } from '../../../../shared/io/window-reader.ts'
import { KiB } from '../../../helpers/raw-wire.ts'

/** Bytes of a request. */
const REQUEST = 28
const REPLY = 4 * KiB

/** A client that has so many replies to read, and sends a request for each that it reads while the thread sleeps. */
class Client {
  unread = 16
  reads = 4
  /** How often the thread has asked for what is unread, and how often it has slept and looked for requests. */
  asked = 0
  slept = 0
  readonly gathering: RequestGathering

  constructor() {
    const window = { length: 0 }
    const channel = {
      unreadByPeer: () => {
        this.asked++
        return this.unread * (REPLY + 600)
      }
    }
    const receiveNow = (): number => {
      this.slept++
      window.length = this.reads * REQUEST
      return window.length > 0 ? window.length : WOKEN
    }
    this.gathering = new RequestGathering({ window, channel, receiveNow } as unknown as WindowReader, REQUEST)
  }

  /** So many batches, of two reads each. @returns whether requests have come together behind the last one */
  batches(count: number): boolean {
    let found = false
    for (let i = 0; i < count; i++) {
      this.gathering.batchDone(true, 2, 2 * REPLY)
      found = this.gathering.gather()
    }
    return found
  }

  /** The client has had the thread to itself for some time, and is looked at behind the next batch. */
  settle(): this {
    const { unread } = this
    this.unread = 0
    while (this.asked === 0) this.batches(1)
    this.batches(8)
    this.unread = unread
    this.asked = this.slept = 0
    return this
  }
}

void t.test('gather - lets requests come together while the client has replies to read', async (t) => {
  const client = new Client().settle()
  t.equal(client.batches(10), true)
  t.equal(client.gathering.found, true)
  t.equal(client.slept, 10)
})

void t.test('gather - not before the connection has had the thread to itself for a while', async (t) => {
  const client = new Client()
  t.equal(client.batches(16), false)
  t.equal(client.asked, 0)
  t.equal(client.batches(1), true)
})

void t.test('gather - not while another connection of the thread has requests', async (t) => {
  const [one, other] = [new Client().settle(), new Client()]
  for (let i = 0; i < 100; i++) {
    t.equal(other.batches(1), false)
    t.equal(one.batches(1), false)
  }
  t.equal(one.asked + other.asked, 0)
})

void t.test('gather - not behind a batch of which something is left to be done', async (t) => {
  const client = new Client().settle()
  client.gathering.batchDone(false, 2, 2 * REPLY)
  t.equal(client.gathering.gather(), false)
  t.equal(client.gathering.found, false)
  t.equal(client.batches(16), false)
  t.equal(client.asked, 0)
  t.equal(client.batches(1), true)
})

void t.test('gather - not when the thread has other work', async (t) => {
  const client = new Client().settle()
  AioContext.current().notify()
  t.equal(client.batches(10), false)
  t.equal(client.asked, 0)
  await new Promise(setImmediate)
})

void t.test(
  'gather - with fewer than four replies to read the client is left alone, and asked now and then',
  async (t) => {
    const client = new Client().settle()
    client.unread = 3
    t.equal(client.batches(90), false)
    t.equal(client.asked, 10)
    t.equal(client.slept, 0)
    client.unread = 5
    t.equal(client.batches(9), true)
  }
)

void t.test('gather - large replies are few', async (t) => {
  const client = new Client().settle()
  client.unread = 30
  for (let i = 0; i < 90; i++) {
    // As much as three of these.
    client.gathering.batchDone(true, 1, 10 * REPLY)
    t.equal(client.gathering.gather(), false)
  }
  t.equal(client.slept, 0)
})

void t.test('gather - rests where the client is so quick that no sleep is short enough', async (t) => {
  const client = new Client().settle()
  client.reads = 16
  client.batches(64)
  const { slept } = client
  t.ok(slept > 0 && slept < 64, `${slept} times`)
  t.equal(client.batches(slept), false)
  t.equal(client.slept, slept)
  client.batches(1)
  t.ok(client.slept > slept, 'and tries again')
})

void t.test('gather - rests where the client is so slow that the longest sleep brings nothing', async (t) => {
  const client = new Client().settle()
  client.reads = 0
  client.batches(64)
  const { slept } = client
  t.ok(slept > 0 && slept < 64, `${slept} times`)
  client.batches(slept)
  t.equal(client.slept, slept)
  t.equal(client.gathering.found, false)
  client.reads = 4
  t.equal(client.batches(1), true, 'and tries again')
})

void t.test('gather - goes on as long as requests come together', async (t) => {
  const client = new Client().settle()
  client.batches(10)
  const { slept } = client
  client.batches(500)
  t.equal(client.slept, slept + 500)
})
