import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect, list, type NBDDisk } from '../../client/index.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EOVERFLOW,
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_REP_ACK,
  NBD_REP_ERR_EXT_HEADER_REQD,
  NBD_REP_ERR_UNSUP,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE
} from '../helpers/raw-constants.ts'
import { waitFor } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { go, reply, serverWith } from '../unit/client/helpers/handshakes.ts'
import {
  errorPayload,
  extendedChunk,
  extendedStatusPayload,
  simpleReply
} from '../unit/client/helpers/reply-bytes.ts'
import {
  ALLOCATION_ID,
  handshake,
  infoExport,
  scriptedServer,
  type Handshake,
  type Request
} from '../unit/client/helpers/scripted-server.ts'

const TiB = 2 ** 40
const GiB = 2 ** 30
const SIZE = 8 * TiB
const FLAGS =
  NBD_FLAG_HAS_FLAGS |
  NBD_FLAG_SEND_TRIM |
  NBD_FLAG_SEND_WRITE_ZEROES |
  NBD_FLAG_SEND_CACHE |
  NBD_FLAG_BLOCK_STATUS_PAYLOAD
const acknowledged = reply(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK)
const extended: Handshake = { answers: { ...acknowledged, ...go(infoExport(BigInt(SIZE), FLAGS)) } }

/** A server that says of each request whether it is too long. @returns the disk, and what came */
async function diskOf(
  t: Test,
  script: Handshake,
  refuse: (request: Request) => number = () => 0
): Promise<{ disk: NBDDisk; came: Request[] }> {
  const came: Request[] = []
  const { uri } = await scriptedServer(t, async (peer) => {
    if (!(await handshake(peer, script))) return
    for (let request = await peer.request(); request; request = await peer.request()) {
      came.push(request)
      const { type, cookie, offset, length } = request
      const error = refuse(request)
      const status = (): Buffer => extendedStatusPayload(ALLOCATION_ID, [length, 3])
      if (script !== extended) peer.send(simpleReply(cookie, error))
      else if (error !== 0)
        peer.send(extendedChunk(cookie, offset, NBD_REPLY_TYPE_ERROR, errorPayload(error)))
      else if (type === NBD_CMD_BLOCK_STATUS)
        peer.send(extendedChunk(cookie, offset, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, status()))
      else peer.send(extendedChunk(cookie, offset, NBD_REPLY_TYPE_NONE))
    }
  })
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  return { disk, came }
}

const shape = (came: Request[]): unknown[] =>
  came.map(({ type, offset, length }) => [type, Number(offset), length])

async function extentsOf(disk: NBDDisk): Promise<unknown[]> {
  const extents: unknown[] = []
  for await (const extent of disk.blockStatus()) extents.push(extent)
  return extents
}

void t.test('client - effects of any length go in one extended request', async (t) => {
  const { disk, came } = await diskOf(t, extended)
  t.equal(disk.packets, 'extended')
  t.equal(disk.flags.canBlockStatusPayload, true)
  await disk.zero(4096, 5 * TiB)
  await disk.trim(0, SIZE)
  await disk.cache(512, 3 * TiB)
  t.strictSame(await extentsOf(disk), [{ offset: 0, length: SIZE, flags: 3 }])
  await disk.write(7, Buffer.from('abc'))
  t.strictSame(shape(came), [
    [NBD_CMD_WRITE_ZEROES, 4096, 5 * TiB],
    [NBD_CMD_TRIM, 0, SIZE],
    [NBD_CMD_CACHE, 512, 3 * TiB],
    [NBD_CMD_BLOCK_STATUS, 0, SIZE],
    [NBD_CMD_WRITE, 7, 3]
  ])
  t.strictSame(
    came.map(({ flags }) => flags),
    [0, 0, 0, 0, NBD_CMD_FLAG_PAYLOAD_LEN]
  )
  t.equal(came.at(-1)!.payload.toString(), 'abc')
})

void t.test('client - what is too long for the server is split after all', async (t) => {
  for (const error of [NBD_EINVAL, NBD_EOVERFLOW]) {
    const { disk, came } = await diskOf(t, extended, ({ length }) => (length > GiB ? error : 0))
    await disk.zero(512, 2 * GiB + 1024)
    t.strictSame(shape(came), [
      [NBD_CMD_WRITE_ZEROES, 512, 2 * GiB + 1024],
      [NBD_CMD_WRITE_ZEROES, 512, GiB],
      [NBD_CMD_WRITE_ZEROES, 512 + GiB, GiB],
      [NBD_CMD_WRITE_ZEROES, 512 + 2 * GiB, 1024]
    ])
    came.length = 0
    for await (const { length } of disk.blockStatus(0, 2 * GiB)) t.equal(length, 2 * GiB)
    t.strictSame(shape(came), [
      [NBD_CMD_BLOCK_STATUS, 0, 2 * GiB],
      [NBD_CMD_BLOCK_STATUS, 0, GiB],
      [NBD_CMD_BLOCK_STATUS, GiB, GiB]
    ])
  }
})

void t.test('client - other errors are not tried again', async (t) => {
  const { disk, came } = await diskOf(t, extended, () => 28)
  t.match(await failureOf(disk.zero(0, 5 * TiB)), { kind: 'request', errno: constants.errno.ENOSPC })
  t.match(await failureOf(extentsOf(disk)), { kind: 'request', errno: constants.errno.ENOSPC })
  t.equal(came.length, 2)
})

void t.test('client - compact requests are split, and have no such flag', async (t) => {
  const compact = { answers: go(infoExport(BigInt(SIZE), FLAGS)) }
  const { disk, came } = await diskOf(t, compact)
  t.equal(disk.packets, 'structured')
  t.equal(disk.flags.canBlockStatusPayload, false)
  await disk.zero(0, 6 * GiB)
  await disk.write(0, Buffer.alloc(1))
  t.equal(came.length, 7)
  t.ok(came.every(({ flags }) => flags === 0))
})

void t.test('client - asks for no better form than it is told', async (t) => {
  const uri = await serverWith(t, extended)
  for (const packets of ['extended', 'structured'] as const) {
    const disk = await connect(uri, { packets })
    t.equal(disk.packets, packets)
    await disk.close()
  }
  for (const wrong of ['best', '', 1] as unknown as 'simple'[]) {
    const expected = { kind: 'config', message: 'packets must be one of simple, structured, extended' }
    t.match(await failureOf(connect(uri, { packets: wrong })), expected)
    t.match(await failureOf(list(uri, { packets: wrong })), expected)
  }
})

void t.test('client - a server that takes its word back ends the connection', async (t) => {
  const uri = await serverWith(t, { answers: { ...acknowledged, ...reply(NBD_OPT_GO, NBD_REP_ERR_UNSUP) } })
  const { kind, message } = await failureOf(connect(uri))
  t.equal(kind, 'protocol')
  t.match(message, /a server with extended headers does not know NBD_OPT_GO/)
})

void t.test('client - a server that requires extended headers is understood', async (t) => {
  const uri = await serverWith(t, { answers: reply(NBD_OPT_GO, NBD_REP_ERR_EXT_HEADER_REQD) })
  const { kind, message, errno } = await failureOf(connect(uri, { packets: 'simple' }))
  t.strictSame([kind, errno], ['request', constants.errno.ENOTSUP])
  t.match(message, /the server requires extended headers/)
})

void t.test('client - a server that comes back with less is not the same any more', async (t) => {
  const forms: Handshake[] = [extended, { answers: go(infoExport(BigInt(SIZE), FLAGS)) }]
  let connected = 0
  const { uri } = await scriptedServer(t, async (peer) => {
    if (await handshake(peer, forms[connected++] ?? forms[1]!)) await peer.request()
  })
  const disk = await connect(uri, { reconnectDelayMs: 20_000 })
  // The server hangs up instead of answering.
  const { message, errno } = await failureOf(disk.trim(0, 5 * TiB))
  t.equal(errno, constants.errno.ESTALE)
  t.match(message, /the server speaks no extended packets any more, only structured/)
  await waitFor('the second connection', () => connected === 2)
  await disk.close()
})
