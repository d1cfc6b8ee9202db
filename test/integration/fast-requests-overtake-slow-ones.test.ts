import * as crypto from 'node:crypto'
import t from 'tap'
import { setLogLevel } from '../../shared/log/log.ts'
import { emptyImage } from '../helpers/files.ts'
import { RawClient } from '../helpers/raw-client.ts'
import type { RawReply } from '../helpers/raw-reply.ts'
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../helpers/raw-constants.ts'
import { KiB, MiB, request, type RawRequest } from '../helpers/raw-wire.ts'
import { isSpread, serveTrial } from '../helpers/trial-server.ts'
import { waitFor } from '../helpers/wait-for.ts'

setLogLevel('silent')

/** Requests below are held back. */
const LINE = MiB
const SIZE = 8 * MiB
/** By then a connection of heavy requests has long been spread. */
const MAX_ROUNDS = 2000

/** Requests by their cookies, and their replies in whatever order they come. */
class Conversation {
  readonly #client: RawClient
  readonly #asked = new Map<bigint, RawRequest>()
  #next = 1n

  constructor(client: RawClient) {
    this.#client = client
  }

  get unanswered(): number {
    return this.#asked.size
  }

  /** @returns the cookies, in order */
  send(requests: RawRequest[]): bigint[] {
    const cookies = requests.map((fields) => {
      const cookie = this.#next++
      this.#asked.set(cookie, { ...fields, cookie })
      return cookie
    })
    this.#client.send(Buffer.concat(cookies.map((cookie) => request(this.#asked.get(cookie)!))))
    return cookies
  }

  /** The next reply, which must be to something that was asked and not answered. */
  async next(): Promise<RawReply> {
    const reply = await this.#client.replyToAny((cookie) => {
      const asked = this.#asked.get(cookie)
      if (!asked) throw new Error(`a reply to ${cookie}, which nobody has asked`)
      return asked
    })
    this.#asked.delete(reply.cookie)
    return reply
  }
}

for (const structured of [false, true]) {
  for (const { threads, busyMs } of [
    { threads: 1, busyMs: 0 },
    { threads: 3, busyMs: 1 }
  ]) {
    const what = `${structured ? 'structured' : 'simple'} replies, ${threads} IOThread${threads > 1 ? 's' : ''}`
    void t.test(`slow requests - fast ones overtake them, with ${what}`, async (t) => {
      const served = await serveTrial(t, { threads, image: emptyImage(t, SIZE), busyMs, heldBelow: LINE })
      const client = await RawClient.transmit(t, served, { structured })
      const conversation = new Conversation(client)
      const bytes = crypto.randomBytes(SIZE)
      const part = 256 * KiB
      const writes = Array.from({ length: SIZE / part }, (_, i) => {
        const offset = i * part
        return { type: NBD_CMD_WRITE, offset, payload: bytes.subarray(offset, offset + part) }
      })
      conversation.send(writes)
      while (conversation.unanswered > 0) t.equal((await conversation.next()).error, 0)

      served.control.held = true
      const slowReads = Array.from({ length: 10 }, (_, i) => ({
        type: NBD_CMD_READ,
        offset: i * 40 * KiB,
        length: 1 + i * 10 * KiB
      }))
      const slowWrites = [0, NBD_CMD_FLAG_FUA].map((flags, i) => {
        const offset = 900 * KiB + i * 20 * KiB
        return { type: NBD_CMD_WRITE, flags, offset, payload: crypto.randomBytes(5000) }
      })
      const slow = new Set(conversation.send([...slowReads, ...slowWrites]))
      await waitFor('all slow requests to wait', () => served.control.waiting === slow.size)

      // Of all kinds, and until the connection is spread when it may be; the reads' data tell their place.
      const enough = async (round: number): Promise<boolean> =>
        round >= 20 && (threads === 1 || (await isSpread(served, 0)))
      for (let round = 0; !(await enough(round)); round++) {
        if (round >= MAX_ROUNDS) throw new Error(`one thread has served ${round} rounds`)
        const reads = Array.from({ length: 8 }, () => {
          const offset = 2 * MiB + crypto.randomInt(4 * MiB)
          return { type: NBD_CMD_READ, offset, length: crypto.randomInt(1, 100 * KiB) }
        })
        const others = [
          { type: NBD_CMD_WRITE, offset: 7 * MiB, payload: bytes.subarray(7 * MiB, 7 * MiB + 70_000) },
          { type: NBD_CMD_WRITE_ZEROES, offset: LINE, length: 10_000 },
          { type: NBD_CMD_TRIM, offset: LINE, length: 10_000 },
          { type: NBD_CMD_FLUSH }
        ]
        const fast = conversation.send([...reads, ...others])
        for (const _ of fast) {
          const reply = await conversation.next()
          t.equal(reply.error, 0)
          if (slow.has(reply.cookie)) t.fail('a request that is held back was answered')
          const read = reads[fast.indexOf(reply.cookie)]
          if (read && !reply.data.equals(bytes.subarray(read.offset, read.offset + read.length)))
            t.fail(`wrong data at ${read.offset}`)
        }
      }
      t.equal(served.control.waiting, slow.size, 'nobody has let go of the slow ones')

      served.control.held = false
      const cookies = [...slow]
      while (conversation.unanswered > 0) {
        const reply = await conversation.next()
        t.equal(reply.error, 0)
        const read = slowReads[cookies.indexOf(reply.cookie)]
        if (read && !reply.data.equals(bytes.subarray(read.offset, read.offset + read.length)))
          t.fail(`wrong data at ${read.offset}`)
      }
      for (const { offset, payload } of slowWrites)
        t.ok((await client.call({ type: NBD_CMD_READ, offset, length: payload.length })).data.equals(payload))
    })
  }
}
