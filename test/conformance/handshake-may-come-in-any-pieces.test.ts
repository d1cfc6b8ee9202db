import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY
} from '../helpers/raw-constants.ts'
import { infoPayload, metaPayload, option, request, u32 } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk', '--iothreads', '1'])

/** Client flags, every kind of option, and a first request. */
const whole = Buffer.concat([
  u32(3),
  option(NBD_OPT_STRUCTURED_REPLY),
  option(99, Buffer.alloc(100)),
  option(NBD_OPT_LIST),
  option(NBD_OPT_LIST_META_CONTEXT, metaPayload('disk')),
  option(NBD_OPT_SET_META_CONTEXT, metaPayload('disk', ['base:allocation'])),
  option(NBD_OPT_INFO, infoPayload('other')),
  option(NBD_OPT_GO, infoPayload('disk', [NBD_INFO_NAME])),
  request({ type: NBD_CMD_READ, cookie: 5n, offset: 512, length: 16 })
])

/** All that the server has to say to `whole`. */
async function answers(client: RawClient): Promise<string> {
  return (await client.read(expected.length)).toString('hex')
}

async function ask(): Promise<Buffer> {
  const client = await RawClient.connect(t, server)
  client.send(whole)
  client.socket.end()
  return client.closed()
}

const expected = await ask()

void t.test(
  'negotiation - all options and the first request in one write are answered in order',
  async (t) => {
    const client = await RawClient.connect(t, server)
    await client.handshake()
    client.send(whole.subarray(4))
    await client.optionReplies(NBD_OPT_STRUCTURED_REPLY)
    client.structured = true
    for (const number of [99, NBD_OPT_LIST, NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT]) {
      await client.optionReplies(number)
    }
    await client.optionReplies(NBD_OPT_INFO)
    await client.optionReplies(NBD_OPT_GO)
    const reply = await client.reply({ type: NBD_CMD_READ, offset: 512, length: 16 })
    t.equal(reply.cookie, 5n)
    t.equal(reply.data.length, 16)
  }
)

void t.test('negotiation - cut in two at any byte gives the same answers', async (t) => {
  const other = await RawClient.transmit(t, server)
  for (let cut = 1; cut < whole.length; cut++) {
    const client = await RawClient.connect(t, server)
    await client.sent(whole.subarray(0, cut))
    // The one thread has seen the first part when it has served somebody else since.
    await other.call({ type: NBD_CMD_READ, length: 1 })
    client.send(whole.subarray(cut))
    if ((await answers(client)) !== expected.toString('hex')) t.fail(`cut at ${cut}`)
    client.socket.destroy()
  }
  t.ok(expected.length > 300, 'there were answers')
})

void t.test('negotiation - byte by byte gives the same answers', async (t) => {
  const [client, other] = [await RawClient.connect(t, server), await RawClient.transmit(t, server)]
  for (const byte of whole) {
    await client.sent(Buffer.from([byte]))
    await other.call({ type: NBD_CMD_READ, length: 1 })
  }
  t.equal(await answers(client), expected.toString('hex'))
})
