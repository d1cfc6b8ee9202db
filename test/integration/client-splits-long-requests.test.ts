import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { NBD_MAX_EFFECT_LENGTH } from '../../client/transmission/limits.ts'
import { MiB } from '../helpers/files.ts'
import {
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_TRIM,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO
} from '../helpers/raw-constants.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { pattern, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import {
  handshake,
  infoBlockSize,
  infoExport,
  optionReply,
  scriptedServer,
  type Request
} from '../unit/client/helpers/scripted-server.ts'

const SIZE = 2 ** 45
const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_CACHE
const MAX = 100_000

/** Answers requests by simple replies, each by `errorOf` it; READ with `dataOf`. */
async function server(
  t: Test,
  sizes: Buffer[],
  errorOf: (request: Request) => number = () => 0
): Promise<{ uri: string; requests: Request[] }> {
  const requests: Request[] = []
  const infos = [infoExport(BigInt(SIZE), FLAGS), ...sizes]
  const answers = {
    [NBD_OPT_STRUCTURED_REPLY]: [optionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP)],
    [NBD_OPT_GO]: [
      ...infos.map((info) => optionReply(NBD_OPT_GO, NBD_REP_INFO, info)),
      optionReply(NBD_OPT_GO, NBD_REP_ACK)
    ]
  }
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer, { answers })
    for (let request = await peer.request(); request; request = await peer.request()) {
      requests.push(request)
      const error = errorOf(request)
      const data =
        request.type === NBD_CMD_READ && error === 0
          ? pattern(request.length, Number(request.offset))
          : Buffer.alloc(0)
      peer.send(simpleReply(request.cookie, error, data))
    }
  })
  return { uri, requests }
}

const ranges = (requests: Request[], type: number): number[][] =>
  requests
    .filter((request) => request.type === type)
    .map(({ offset, length }) => [Number(offset), length])
    .sort((a, b) => a[0]! - b[0]!)

void t.test('client - splits at the maximum of the server, in whole blocks', async (t) => {
  const { uri, requests } = await server(t, [infoBlockSize(512, 4096, MAX)])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const [offset, length] = [2 ** 44, 512 * 500]
  const data = pattern(length, offset)
  t.ok((await disk.read(offset, length)).equals(data))
  t.ok(data.equals(await disk.read(offset, new Uint8Array(length))))
  await disk.write(offset, data)
  await disk.cache(offset, length)
  const block = MAX - (MAX % 512)
  const expected = [
    [offset, block],
    [offset + block, block],
    [offset + 2 * block, length - 2 * block]
  ]
  t.strictSame(ranges(requests, NBD_CMD_WRITE), expected)
  const written = requests.filter(({ type }) => type === NBD_CMD_WRITE)
  t.ok(Buffer.concat(written.map(({ payload }) => payload)).equals(data))
  t.strictSame(
    ranges(requests, NBD_CMD_READ),
    [...expected, ...expected].sort((a, b) => a[0]! - b[0]!)
  )
})

void t.test('client - splits at 32 MiB where the server has no bound', async (t) => {
  for (const sizes of [[], [infoBlockSize(1, 4096, 0xffffffff)]]) {
    const { uri, requests } = await server(t, sizes)
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    await disk.write(0, Buffer.alloc(32 * MiB + 1))
    t.strictSame(ranges(requests, NBD_CMD_WRITE), [
      [0, 32 * MiB],
      [32 * MiB, 1]
    ])
  }
})

void t.test('client - splits what has no payload so that lengths fit 31 bits', async (t) => {
  const { uri, requests } = await server(t, [infoBlockSize(512, 4096, MAX)])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const length = 100 * NBD_MAX_EFFECT_LENGTH + 512
  await disk.trim(512, length)
  const trimmed = ranges(requests, NBD_CMD_TRIM)
  t.equal(trimmed.length, 101)
  t.ok(trimmed.every(([, size]) => size! < 2 ** 31))
  t.equal(
    trimmed.reduce((end, [at, size]) => (at === end ? end + size! : NaN), 512),
    512 + length
  )
})

void t.test('client - of a split request, one failed part fails all, and no more are sent', async (t) => {
  const { EIO } = constants.errno
  const { uri, requests } = await server(t, [infoBlockSize(512, 4096, 4096)], ({ offset }) =>
    offset === 4096n * 3n ? EIO : 0
  )
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const { kind, errno, message } = await failureOf(disk.read(0, 4096 * 1000))
  t.strictSame([kind, errno], ['request', EIO])
  t.match(message, /NBD_CMD_READ of 4096 bytes at 12288/)
  t.ok(requests.length < 100, `${requests.length} of 1000 were sent`)
  t.equal((await disk.read(0, 4096)).length, 4096, 'and the disk goes on')
})
