import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import {
  NBD_CMD_DISC,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_OPT_GO,
  NBD_REP_ACK,
  NBD_REP_INFO
} from '../helpers/raw-constants.ts'
import { within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import {
  handshake,
  infoBlockSize,
  infoExport,
  optionReply,
  scriptedServer
} from '../unit/client/helpers/scripted-server.ts'

const { EINVAL, ENOTSUP, EPERM } = constants.errno
const SIZE = 1024 * 1024
const WRITABLE = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES

interface Served {
  uri: string
  /** Types of the requests that it got. */
  received: number[]
  /** Resolves when its client has gone. */
  left: Promise<void>
}

/** A server with these flags. */
async function serverWith(t: Test, flags: number, ...infos: Buffer[]): Promise<Served> {
  const received: number[] = []
  const go = [infoExport(BigInt(SIZE), flags), ...infos].map((info) =>
    optionReply(NBD_OPT_GO, NBD_REP_INFO, info)
  )
  const answers = { [NBD_OPT_GO]: [...go, optionReply(NBD_OPT_GO, NBD_REP_ACK)] }
  let leave: () => void = () => undefined
  const left = new Promise<void>((resolve) => (leave = resolve))
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer, { answers })
    for (let request = await peer.request(); request; request = await peer.request())
      received.push(request.type)
    leave()
  })
  return { uri, received, left }
}

void t.test('client - sends nothing that the server has not offered', async (t) => {
  const { uri, received, left } = await serverWith(t, WRITABLE)
  const disk = await connect(uri)
  const refused = {
    flush: disk.flush(),
    cache: disk.cache(0, 512),
    'write with fua': disk.write(0, Buffer.alloc(512), { fua: true }),
    'zero with fua': disk.zero(0, 512, { fua: true }),
    'trim with fua': disk.trim(0, 512, { fua: true }),
    'fast zero': disk.zero(0, 512, { fast: true })
  }
  for (const [name, promise] of Object.entries(refused)) {
    const { kind, errno, message } = await failureOf(promise)
    t.strictSame([kind, errno], ['request', ENOTSUP], name)
    t.match(message, /the server does not offer/)
  }
  await disk.close()
  await within('the client to leave', left)
  t.strictSame(received, [NBD_CMD_DISC])
})

void t.test('client - does not write to a read-only export', async (t) => {
  const { uri, received, left } = await serverWith(t, WRITABLE | NBD_FLAG_SEND_FLUSH | NBD_FLAG_READ_ONLY)
  const disk = await connect(uri)
  t.equal(disk.readOnly, true)
  for (const promise of [disk.write(0, Buffer.alloc(512)), disk.zero(0, 512), disk.trim(0, 512)]) {
    const { kind, errno, message } = await failureOf(promise)
    t.strictSame([kind, errno], ['request', EPERM])
    t.match(message, /read-only/)
  }
  await disk.close()
  await within('the client to leave', left)
  t.strictSame(received, [NBD_CMD_DISC])
})

void t.test('client - sends nothing that cannot be right', async (t) => {
  const { uri, received, left } = await serverWith(t, WRITABLE)
  const disk = await connect(uri)
  const data = Buffer.alloc(512)
  const refused: [string, Promise<unknown>, RegExp][] = [
    ['read behind the end', disk.read(SIZE, 1), /NBD_CMD_READ of 1 bytes at 1048576: goes beyond the end/],
    ['read over the end', disk.read(SIZE - 511, 512), /goes beyond the end/],
    ['write over the end', disk.write(SIZE - 511, data), /goes beyond the end/],
    ['zero over the end', disk.zero(0, SIZE + 1), /goes beyond the end/],
    ['status over the end', disk.blockStatus(0, SIZE + 1).next(), /goes beyond the end/],
    ['offset 2^53 - 1', disk.read(2 ** 53 - 1, 2 ** 53 - 1), /goes beyond the end/],
    ['offset 2^53', disk.read(2 ** 53, 1), /whole numbers/],
    ['no number', disk.read(data as unknown as number, 1), /^NBD_CMD_READ: offset and length must be whole/],
    ['negative offset', disk.read(-1, 1), /whole numbers/],
    ['negative length', disk.read(1, -1), /whole numbers/],
    ['half an offset', disk.read(0.5, 1), /whole numbers/],
    ['NaN', disk.read(NaN, 1), /whole numbers/],
    ['Infinity', disk.trim(0, Infinity), /whole numbers/],
    ['no offset', disk.read(undefined as unknown as number, 1), /whole numbers/],
    ['offset as text', disk.read('0' as unknown as number, 1), /whole numbers/]
  ]
  for (const [name, promise, why] of refused) {
    const { kind, errno, message } = await failureOf(promise)
    t.strictSame([kind, errno], ['request', EINVAL], name)
    t.match(message, why, name)
  }
  await t.rejects(disk.write(0, 'text' as unknown as Buffer), TypeError)
  await t.rejects(disk.read(0, [1, 2] as unknown as Buffer), TypeError)
  await disk.close()
  await within('the client to leave', left)
  t.strictSame(received, [NBD_CMD_DISC])
})

void t.test('client - sends nothing for nothing', async (t) => {
  const { uri, received, left } = await serverWith(t, WRITABLE)
  const disk = await connect(uri)
  t.equal((await disk.read(SIZE, 0)).length, 0)
  t.equal((await disk.read(0, Buffer.alloc(0))).length, 0)
  await disk.write(SIZE, Buffer.alloc(0))
  await disk.zero(0, 0)
  await disk.trim(0, 0)
  t.same((await disk.blockStatus(0, 0).next()).done, true)
  await disk.close()
  await within('the client to leave', left)
  t.strictSame(received, [NBD_CMD_DISC])
})

void t.test('client - obeys the minimum block size', async (t) => {
  const { uri, received, left } = await serverWith(t, WRITABLE, infoBlockSize(4096, 4096, 65536))
  const disk = await connect(uri)
  t.strictSame(disk.blockSizes, { minimum: 4096, preferred: 4096, maximum: 65536 })
  for (const promise of [
    disk.read(1, 4096),
    disk.read(0, 4095),
    disk.write(512, Buffer.alloc(4096)),
    disk.zero(4096, 512),
    disk.trim(1, 1),
    disk.blockStatus(0, 5000).next()
  ]) {
    const { kind, errno, message } = await failureOf(promise)
    t.strictSame([kind, errno], ['request', EINVAL])
    t.match(message, /multiples of the server's minimum block size, 4096/)
  }
  await disk.close()
  await within('the client to leave', left)
  t.strictSame(received, [NBD_CMD_DISC])
})

void t.test('client - says when there is no memory for so much', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:5T'])
  const disk = await connect(server.uri)
  t.teardown(() => disk.close())
  const { kind, errno } = await failureOf(disk.read(0, disk.size))
  t.strictSame([kind, errno], ['request', constants.errno.ENOMEM])
  t.equal((await disk.read(disk.size - 4096, 4096)).length, 4096, 'and goes on')
})

void t.test('client - calls behind close fail, and close may be called again', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const disk = await connect(server.uri)
  const pending = disk.read(0, 4096)
  const closed = disk.close()
  t.equal(disk.state, 'CLOSED')
  const { kind, message } = await failureOf(disk.read(0, 4096))
  t.equal(kind, 'transport')
  t.match(message, /NBD_CMD_READ of 4096 bytes at 0: the connection was closed/)
  t.equal((await pending).length, 4096, 'what was called before is answered')
  await closed
  await disk[Symbol.asyncDispose]()
  t.equal(disk.state, 'CLOSED')
})
