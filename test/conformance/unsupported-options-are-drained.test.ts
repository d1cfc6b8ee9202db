import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_OPT_LIST,
  NBD_OPT_PEEK_EXPORT,
  NBD_OPT_STARTTLS,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_UNSUP
} from '../helpers/raw-constants.ts'
import { MiB, option } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

/** Looks like options, should the server ever parse it. */
const payload = (length: number): Buffer => Buffer.alloc(length, option(NBD_OPT_LIST))

void t.test('R4 - unknown options are answered by ERR_UNSUP, and the next one is understood', async (t) => {
  const client = await RawClient.negotiate(t, server)
  for (const number of [0, NBD_OPT_PEEK_EXPORT, 12, 99, 0x7fffffff]) {
    for (const length of [0, 1, 16, 4097]) {
      t.equal(
        await client.askOnce(number, payload(length)),
        NBD_REP_ERR_UNSUP,
        `option ${number}, ${length} bytes`
      )
    }
  }
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
})

void t.test('R47 - an option number with the highest bit set is echoed unsigned', async (t) => {
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(0xffffffff), NBD_REP_ERR_UNSUP)
  t.equal(await client.askOnce(0x80000003), NBD_REP_ERR_UNSUP)
})

void t.test('R4 - an unknown option with 1 MiB of payload is drained, then LIST is answered', async (t) => {
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(99, payload(MiB)), NBD_REP_ERR_UNSUP)
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
})

void t.test(
  'R10 - STARTTLS without TLS gets UNSUP or POLICY, also with a payload, and never TLS_REQD',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    for (const length of [0, 1, 65536, MiB]) {
      const type = await client.askOnce(NBD_OPT_STARTTLS, payload(length))
      t.ok([NBD_REP_ERR_UNSUP, NBD_REP_ERR_POLICY].includes(type), `${length} bytes: 0x${type.toString(16)}`)
    }
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  }
)

void t.test('option payload - 32 MiB are drained', async (t) => {
  const client = await RawClient.negotiate(t, server)
  t.equal(await client.askOnce(99, payload(32 * MiB)), NBD_REP_ERR_UNSUP)
  t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
})

void t.test(
  'option payload - the announcement of more than 32 MiB ends the connection at once',
  async (t) => {
    for (const length of [32 * MiB + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      for (const number of [99, NBD_OPT_LIST]) {
        const client = await RawClient.negotiate(t, server)
        client.send(option(number, Buffer.alloc(0), { length }))
        t.equal((await client.closed()).length, 0, `option ${number}, ${length} bytes`)
      }
    }
  }
)

void t.test('option magic - a wrong one ends the connection without an answer', async (t) => {
  for (const magic of [0n, 0x49484156454f5055n, 0x4e42444d41474943n, 0xffffffffffffffffn]) {
    const client = await RawClient.negotiate(t, server)
    client.send(option(NBD_OPT_LIST, Buffer.alloc(0), { magic }))
    t.equal((await client.closed()).length, 0, magic.toString(16))
  }
})
