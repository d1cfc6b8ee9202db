import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_DISC, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M', '--iothreads', '1'])

/** Served on the spot, and so answered in order. Its writes leave the disk as it was. */
const whole = Buffer.concat([
  request({ type: NBD_CMD_READ, cookie: 1n, offset: 100, length: 10 }),
  request({ type: NBD_CMD_WRITE, cookie: 2n, offset: 100, payload: Buffer.from('0123456789') }),
  request({ type: NBD_CMD_READ, cookie: 3n, offset: 95, length: 20 }),
  request({ type: NBD_CMD_WRITE, cookie: 4n, offset: 1 << 20, payload: Buffer.from('refused') }),
  request({ type: 99, cookie: 5n }),
  request({ type: NBD_CMD_READ, cookie: 6n, offset: 1 << 20, length: 1 }),
  request({ type: NBD_CMD_WRITE, cookie: 7n, offset: 100, payload: Buffer.alloc(10) }),
  request({ type: NBD_CMD_WRITE, cookie: 8n, payload: Buffer.alloc(0) })
])

/** The replies to `whole` by the specification. */
const simple = (error: number, cookie: number, data = ''): string =>
  '67446698' +
  error.toString(16).padStart(8, '0') +
  cookie.toString(16).padStart(16, '0') +
  Buffer.from(data).toString('hex')
const expected = [
  simple(0, 1, '\0'.repeat(10)),
  simple(0, 2),
  simple(0, 3, '\0'.repeat(5) + '0123456789' + '\0'.repeat(5)),
  simple(28, 4),
  simple(22, 5),
  simple(22, 6),
  simple(0, 7),
  simple(0, 8)
].join('')

const answers = async (client: RawClient): Promise<string> =>
  (await client.read(expected.length / 2)).toString('hex')

void t.test('requests - in one write are answered as the specification says', async (t) => {
  const client = await RawClient.transmit(t, server)
  client.send(whole)
  t.equal(await answers(client), expected)
})

void t.test('requests - cut in two at any byte are answered the same', async (t) => {
  const [client, other] = [await RawClient.transmit(t, server), await RawClient.transmit(t, server)]
  for (let cut = 1; cut < whole.length; cut++) {
    await client.sent(whole.subarray(0, cut))
    // The one thread has seen the first part when it has served somebody else since.
    await other.call({ type: NBD_CMD_READ, length: 1 })
    client.send(whole.subarray(cut))
    if ((await answers(client)) !== expected) t.fail(`cut at ${cut}`)
  }
  t.equal(client.pending, 0)
})

void t.test(
  'requests - byte by byte are answered the same, while other connections use the thread',
  async (t) => {
    const [client, other] = [await RawClient.transmit(t, server), await RawClient.transmit(t, server)]
    for (const byte of whole) {
      await client.sent(Buffer.from([byte]))
      const { data } = await other.call({ type: NBD_CMD_READ, offset: 4096, length: 100 })
      if (!data.equals(Buffer.alloc(100))) t.fail('bytes of another connection')
    }
    t.equal(await answers(client), expected)
  }
)

void t.test('requests - many times over, cut every 1009 bytes, are answered the same', async (t) => {
  const client = await RawClient.transmit(t, server)
  const all = Buffer.concat(Array<Buffer>(1000).fill(whole))
  for (let at = 0; at < all.length; at += 1009) client.send(all.subarray(at, at + 1009))
  for (let i = 0; i < 1000; i++) if ((await answers(client)) !== expected) t.fail(`round ${i}`)
  client.send(request({ type: NBD_CMD_DISC }))
  t.equal((await client.closed()).length, 0)
})

void t.test('requests - a connection that ends within one is closed without an answer', async (t) => {
  const first = request({ type: NBD_CMD_WRITE, payload: Buffer.alloc(100) })
  for (const cut of [1, 4, 27, 28, 29, 127]) {
    const client = await RawClient.transmit(t, server)
    await client.sent(first.subarray(0, cut))
    client.socket.end()
    t.equal((await client.closed()).length, 0, `after ${cut} bytes`)
  }
  const client = await RawClient.transmit(t, server)
  t.equal((await client.call({ type: NBD_CMD_TRIM, length: 1 })).error, 0, 'and the server lives')
})
