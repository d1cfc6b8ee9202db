/**
 * Every byte that a server sends is cut off or changed, one at a time. The client must come to an end, with an error
 * that says what it is of, or with the right data; never with wrong data that a change of the framing has made.
 */
import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_FLUSH,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP
} from '../helpers/raw-constants.ts'
import { u16, u64 } from '../helpers/raw-wire.ts'
import { within } from '../helpers/wait-for.ts'
import {
  damaged,
  damages,
  damagingServer,
  inLanes,
  outcomeOf,
  type Outcome
} from '../unit/client/helpers/damage.ts'
import { reply } from '../unit/client/helpers/handshakes.ts'
import {
  chunk,
  dataPayload,
  errorPayload,
  extendedChunk,
  extendedStatusPayload,
  holePayload,
  pattern,
  simpleReply,
  statusPayload
} from '../unit/client/helpers/reply-bytes.ts'
import {
  ALLOCATION_ID,
  handshake,
  scriptedServer,
  SIZE,
  type Handshake
} from '../unit/client/helpers/scripted-server.ts'

const [NONE, OFFSET_DATA, OFFSET_HOLE, BLOCK_STATUS, BLOCK_STATUS_EXT] = [0, 1, 2, 5, 6]
const [ERROR, ERROR_OFFSET] = [0x8001, 0x8002]
/** How long a call may wait for a reply that a change has made longer than it is. */
const CALL_MS = 60
const HANDSHAKE_MS = 60
const LENGTH = 48
const data = pattern(LENGTH)

interface Call {
  run: (disk: NBDDisk) => Promise<unknown>
  type: number
  /** What is answered, in one piece. */
  answer: (cookie: bigint) => Buffer
  /** Bytes of the answer, by number, whose change is a change of the facts that it tells: no client can know. */
  facts: (at: number) => boolean
}

const extentsOf = async (disk: NBDDisk): Promise<unknown[]> => {
  const extents: unknown[] = []
  for await (const extent of disk.blockStatus(0, 1024)) extents.push(extent)
  return extents
}

const read = (disk: NBDDisk): Promise<string> => disk.read(512, LENGTH).then((bytes) => bytes.toString('hex'))
const none = (): boolean => false
const between = (start: number, end: number) => (at: number) => at >= start && at < end

/** Where structured replies are negotiated. */
const structured: Record<string, Call> = {
  'a read in one chunk': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) => chunk(cookie, OFFSET_DATA, dataPayload(512n, data)),
    facts: between(28, 28 + LENGTH)
  },
  'a read of data, a hole and data': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) =>
      Buffer.concat([
        chunk(cookie, OFFSET_DATA, dataPayload(528n, data.subarray(16, 32)), { done: false }),
        chunk(cookie, OFFSET_HOLE, holePayload(512n, 16), { done: false }),
        chunk(cookie, OFFSET_DATA, dataPayload(544n, data.subarray(32)), { done: false }),
        chunk(cookie, NONE)
      ]),
    facts: (at) => between(28, 44)(at) || between(44 + 32 + 28, 44 + 32 + 44)(at)
  },
  'a read that fails in the middle': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) =>
      Buffer.concat([
        chunk(cookie, OFFSET_DATA, dataPayload(512n, data.subarray(0, 16)), { done: false }),
        chunk(cookie, ERROR_OFFSET, errorPayload(5, 'broken', u64(528n)), { done: false }),
        chunk(cookie, ERROR, errorPayload(28, 'no'))
      ]),
    facts: none
  },
  'a write': {
    run: (disk) => disk.write(0, data).then(() => 'written'),
    type: NBD_CMD_WRITE,
    answer: (cookie) => chunk(cookie, NONE),
    facts: none
  },
  'a flush with a simple reply': {
    run: (disk) => disk.flush().then(() => 'flushed'),
    type: NBD_CMD_FLUSH,
    answer: (cookie) => simpleReply(cookie),
    facts: none
  },
  'a status of two extents': {
    run: extentsOf,
    type: NBD_CMD_BLOCK_STATUS,
    answer: (cookie) => chunk(cookie, BLOCK_STATUS, statusPayload(ALLOCATION_ID, 512, 0, 512, 3)),
    facts: between(24, 40)
  }
}

const someExtended = reply(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK)

/** Where extended headers are negotiated. */
const extended: Record<string, Call> = {
  'a read of data, a hole and data': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) =>
      Buffer.concat([
        extendedChunk(cookie, 512, OFFSET_DATA, dataPayload(528n, data.subarray(16, 32)), { done: false }),
        extendedChunk(cookie, 512, OFFSET_HOLE, holePayload(512n, 16), { done: false }),
        extendedChunk(cookie, 512, OFFSET_DATA, dataPayload(544n, data.subarray(32)))
      ]),
    facts: (at) => between(40, 56)(at) || between(56 + 44 + 40, 56 + 44 + 56)(at)
  },
  'a read that fails in the middle': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) =>
      Buffer.concat([
        extendedChunk(cookie, 512, OFFSET_DATA, dataPayload(512n, data.subarray(0, 16)), { done: false }),
        extendedChunk(cookie, 512, ERROR_OFFSET, errorPayload(5, 'broken', u64(528n)), { done: false }),
        extendedChunk(cookie, 512, ERROR, errorPayload(28, 'no'))
      ]),
    facts: none
  },
  'a write': {
    run: (disk) => disk.write(4096, data).then(() => 'written'),
    type: NBD_CMD_WRITE,
    answer: (cookie) => extendedChunk(cookie, 4096, NONE),
    facts: none
  },
  'a flush': {
    run: (disk) => disk.flush().then(() => 'flushed'),
    type: NBD_CMD_FLUSH,
    answer: (cookie) => extendedChunk(cookie, 0, NONE),
    facts: none
  },
  'a status of two extents': {
    run: extentsOf,
    type: NBD_CMD_BLOCK_STATUS,
    answer: (cookie) =>
      extendedChunk(cookie, 0, BLOCK_STATUS_EXT, extendedStatusPayload(ALLOCATION_ID, [512, 0, 512, 3])),
    facts: between(40, 72)
  }
}

const noStructured = reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP)

/** Where they are not. */
const simple: Record<string, Call> = {
  'a read': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) => simpleReply(cookie, 0, data),
    facts: between(16, 16 + LENGTH)
  },
  'a read that fails': {
    run: read,
    type: NBD_CMD_READ,
    answer: (cookie) => simpleReply(cookie, 5),
    facts: none
  },
  'a write': { ...structured['a write']!, answer: (cookie) => simpleReply(cookie) }
}

async function checkCall(t: Test, script: Handshake, { run, type, answer, facts }: Call): Promise<void> {
  const serve = damagingServer(
    t,
    script,
    async (peer, damage) => {
      const request = await peer.request()
      if (request?.type !== type) return
      damaged(peer, damage)
      peer.send(answer(request.cookie))
      while (await peer.request());
    },
    false
  )
  const use = async (uri: string): Promise<Outcome> => {
    const disk = await connect(uri, { timeoutMs: CALL_MS })
    const outcome = await outcomeOf(run(disk))
    await disk.close()
    return outcome
  }
  // Without damage, however slow the machine.
  const good = await serve(undefined, async (uri) => {
    const disk = await connect(uri)
    const outcome = await outcomeOf(run(disk))
    await disk.close()
    return outcome
  })
  const wrong: string[] = []
  let errors = 0
  await inLanes(
    [...damages(answer(1n).length)].map((damage) => async () => {
      const name = JSON.stringify(damage)
      const outcome = await within(name, serve(damage, use))
      if (typeof outcome !== 'string') {
        errors++
        if (!['request', 'protocol', 'transport'].includes(outcome.kind))
          wrong.push(`${name}: ${outcome.message}`)
      } else if (outcome !== good && !('flip' in damage && facts(damage.flip))) {
        wrong.push(`${name}: ${outcome}`)
      } else if ('cut' in damage) {
        wrong.push(`${name}: cut, and still answered`)
      }
    })
  )
  t.strictSame(wrong, [])
  t.ok(errors >= answer(1n).length, `${errors} errors`)
}

for (const [name, call] of Object.entries(structured))
  void t.test(`bad server - ${name}`, (t) => checkCall(t, {}, call))
for (const [name, call] of Object.entries(extended))
  void t.test(`bad server - ${name}, extended headers`, (t) => checkCall(t, { answers: someExtended }, call))
for (const [name, call] of Object.entries(simple))
  void t.test(`bad server - ${name}, simple replies`, (t) => checkCall(t, { answers: noStructured }, call))

const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH
const handshakes: Record<string, Handshake> = {
  'the handshake': {},
  'the handshake with extended headers': { answers: someExtended },
  'the handshake without structured replies': { answers: noStructured },
  'the handshake by EXPORT_NAME': {
    answers: {
      ...noStructured,
      ...reply(NBD_OPT_GO, NBD_REP_ERR_UNSUP),
      [NBD_OPT_EXPORT_NAME]: [Buffer.concat([u64(SIZE), u16(FLAGS)])]
    }
  }
}

for (const [name, script] of Object.entries(handshakes)) {
  void t.test(`bad server - ${name}`, async (t) => {
    let length = 0
    const serve = damagingServer(t, script, async (peer) => void (await peer.request()), true)
    const { uri } = await scriptedServer(t, async (peer) => {
      peer.tamper = (bytes) => {
        length += bytes.length
        return bytes
      }
      if (await handshake(peer, script)) await peer.request()
    })
    await (await connect(uri)).close()
    const wrong: string[] = []
    let [opened, refused] = [0, 0]
    await inLanes(
      [...damages(length)].map((damage) => async () => {
        const what = JSON.stringify(damage)
        const outcome = await within(
          what,
          serve(damage, (uri) =>
            outcomeOf(
              connect(uri, { handshakeTimeoutMs: HANDSHAKE_MS }).then(async (disk) => {
                const { size } = disk
                await disk.close()
                return size
              })
            )
          )
        )
        if (typeof outcome === 'string') {
          opened++
          if ('cut' in damage) wrong.push(`${what}: cut, and still open`)
        } else {
          refused++
          if (!['request', 'protocol', 'transport'].includes(outcome.kind))
            wrong.push(`${what}: ${outcome.message}`)
        }
      })
    )
    t.strictSame(wrong, [])
    t.ok(refused >= length, `${refused} refused, ${opened} open: sizes, flags, names`)
  })
}
