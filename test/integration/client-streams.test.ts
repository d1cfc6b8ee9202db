import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants } from 'node:os'
import t, { type Test } from 'tap'
import { DiskReadStream, webReadable } from '../../client/disk/read-stream.ts'
import { connect } from '../../client/index.ts'
import { emptyImage, imageOf, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { NBD_CMD_FLUSH, NBD_CMD_READ } from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { chunk, dataPayload, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import { handshake, scriptedServer, type Request } from '../unit/client/helpers/scripted-server.ts'

const OFFSET_DATA = 1
const SIZE = 5 * MiB + 777
const content = crypto.randomBytes(SIZE)

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of source) pieces.push(piece)
  return Buffer.concat(pieces)
}

void t.test('client - a range is read by streams of Node and of the web, and by blocks', async (t) => {
  const image = imageOf(t, content)
  const { uri } = await Mqnbd.serve(t, [image, '-f', 'raw'])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const whole = content.subarray(0, disk.size)
  t.ok((await collect(disk.createReadStream())).equals(whole))
  t.ok((await collect(disk.readable())).equals(whole))
  const range = { start: 1000, end: 3 * MiB + 5 }
  const part = content.subarray(range.start, range.end)
  t.ok((await collect(disk.createReadStream({ ...range, highWaterMark: 10_000 }))).equals(part))
  t.ok((await collect(disk.readable({ ...range, highWaterMark: 10_000 }))).equals(part))
  const lengths: number[] = []
  for await (const block of disk.readBlocks({ ...range, size: MiB })) lengths.push(block.length)
  t.strictSame(lengths, [MiB, MiB, MiB - 995])
  t.equal((await collect(disk.createReadStream({ start: 5, end: 5 }))).length, 0)
  t.equal((await collect(disk.readable({ start: 5, end: 5 }))).length, 0)

  const reader = disk.readable(range).getReader({ mode: 'byob' })
  const pieces: Uint8Array[] = []
  for (;;) {
    const { done, value } = await reader.read(new Uint8Array(70_000))
    if (done) break
    pieces.push(value)
  }
  t.ok(Buffer.concat(pieces).equals(part), 'a reader may bring its own buffer')
})

void t.test('client - streams write what they are given, in pieces of any size', async (t) => {
  const { uri } = await Mqnbd.serve(t, ['memory:6M'])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  function* odd(): Generator<Buffer> {
    for (let at = 0, i = 0; at < SIZE; i++) {
      const size = (i * 7919) % 90_001
      yield content.subarray(at, Math.min(at + size, SIZE))
      at += size
    }
  }
  await pipeline(odd(), disk.createWriteStream({ start: 100, flush: true }))
  t.ok((await disk.read(100, SIZE)).equals(content))
  await disk.zero(0, disk.size)
  await Readable.toWeb(Readable.from(odd())).pipeTo(disk.writable({ start: 3, flush: true }))
  t.ok((await disk.read(3, SIZE)).equals(content))
  const stream = disk.createWriteStream({ start: disk.size - 10 })
  const failed = await failureOf(pipeline([Buffer.alloc(11)], stream))
  t.equal(failed.errno, constants.errno.EINVAL, 'beyond the end')
})

void t.test(
  'client - a stream writes whole blocks where the server takes no others',
  requires('nbdkit'),
  async (t) => {
    const { uri } = await Nbdkit.serve(t, [
      ...['--filter=blocksize-policy', 'memory', '1M', 'blocksize-minimum=4096', 'blocksize-preferred=4096'],
      ...['blocksize-maximum=64K', 'blocksize-error-policy=error']
    ])
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    const data = content.subarray(0, 100 * 4096)
    const pieces = Array.from({ length: 4096 }, (_, i) => data.subarray(i * 100, (i + 1) * 100))
    await pipeline(pieces, disk.createWriteStream({ start: 8192 }))
    t.ok((await disk.read(8192, data.length)).equals(data))
    const odd = await failureOf(pipeline([Buffer.alloc(5000)], disk.createWriteStream()))
    t.match(odd, { errno: constants.errno.EINVAL, message: /NBD_CMD_WRITE of 904 bytes at 4096/ })
  }
)

void t.test('client - a disk is copied by a pipeline', async (t) => {
  const image = imageOf(t, content.subarray(0, 5 * MiB))
  const target = emptyImage(t, 5 * MiB)
  const [from, to] = await Promise.all([image, target].map((file) => Mqnbd.serve(t, [file, '-f', 'raw'])))
  const [source, copy] = await Promise.all([connect(from!.uri), connect(to!.uri)])
  t.teardown(() => Promise.all([source.close(), copy.close()]))
  await pipeline(source.createReadStream(), copy.createWriteStream({ flush: true }))
  t.ok(fs.readFileSync(target).equals(content.subarray(0, 5 * MiB)))
  await copy.zero(0, copy.size)
  await source.readable().pipeTo(copy.writable({ flush: true }))
  t.ok(fs.readFileSync(target).equals(content.subarray(0, 5 * MiB)))
})

void t.test('client - a stream that nobody reads asks for no more than it may hold', async (t) => {
  const { uri } = await Mqnbd.serve(t, ['memory:1G'])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  let reads = 0
  const counted = { size: disk.size, read: (...args: [number, number]) => (reads++, disk.read(...args)) }
  const stream = new DiskReadStream(counted, { highWaterMark: 64 * KiB })
  stream.once('readable', () => undefined)
  await waitFor('data', () => stream.readableLength > 0)
  await disk.flush()
  t.ok(reads <= 8, `${reads} reads`)
  stream.destroy()
  reads = 0
  const reader = webReadable(counted, { highWaterMark: 64 * KiB }).getReader()
  await reader.read()
  await disk.flush()
  t.ok(reads <= 8, `${reads} reads`)
  await reader.cancel()
})

/** Answers a FLUSH, and READs only as long as `answers` says. */
async function reluctant(t: Test, answers: (request: Request) => Buffer | undefined) {
  const requests: Request[] = []
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer)
    for (let request = await peer.request(); request; request = await peer.request()) {
      requests.push(request)
      const answer = request.type === NBD_CMD_FLUSH ? simpleReply(request.cookie) : answers(request)
      if (answer) peer.send(answer)
    }
  })
  return { uri, requests }
}

void t.test('client - streams that are destroyed give up what is in flight', async (t) => {
  const { uri, requests } = await reluctant(t, () => undefined)
  const disk = await connect(uri)
  const stream = disk.createReadStream()
  stream.resume()
  await waitFor('reads', () => requests.length >= 4)
  const closed = new Promise((resolve) => stream.once('close', resolve))
  stream.destroy()
  await within('the end of the stream', closed)

  const web = disk.readable()
  const reader = web.getReader()
  void reader.read()
  await within('the end of the stream of the web', reader.cancel())

  const blocks = disk.readBlocks({ signal: AbortSignal.timeout(20) })
  await t.rejects(within('the end of the iteration', blocks.next()), { name: 'TimeoutError' })

  const writer = disk.createWriteStream()
  writer.write(Buffer.alloc(1000))
  const gone = new Promise((resolve) => writer.once('close', resolve))
  writer.on('error', () => undefined)
  writer.destroy(new Error('no more'))
  await within('the end of the writer', gone)

  const sink = disk.writable().getWriter()
  const written = sink.write(Buffer.alloc(1000)).catch((error: unknown) => error)
  await waitFor('the write', () => requests.length >= 10)
  await within('the end of the writer of the web', sink.abort(new Error('no more')))
  t.match(await written, { name: 'AbortError' })
  await within('close: nobody waits for the replies', disk.close())
})

void t.test(
  'client - a failed read is an error of the stream, and data before it are not lost',
  async (t) => {
    const { EIO } = constants.errno
    const { uri } = await reluctant(t, ({ type, cookie, offset, length }) =>
      type === NBD_CMD_READ && offset >= 300_000n
        ? simpleReply(cookie, 5)
        : chunk(cookie, OFFSET_DATA, dataPayload(offset, Buffer.alloc(length, 1)))
    )
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    for (const stream of [
      disk.createReadStream({ highWaterMark: 50_000 }),
      disk.readable({ highWaterMark: 50_000 })
    ]) {
      let total = 0
      const read = (async () => {
        for await (const piece of stream) total += (piece as Uint8Array).length
      })()
      t.match(await failureOf(read), { kind: 'request', errno: EIO })
      t.ok(total <= 300_000 && total > 0, `${total} bytes`)
    }
    t.equal(disk.state, 'READY')
  }
)
