import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_OPT_LIST, NBD_REP_ACK, NBD_REP_ERR_INVALID, NBD_REP_SERVER } from '../helpers/raw-constants.ts'
import { lengthAndText, MiB } from '../helpers/raw-wire.ts'

void t.test('LIST - gives each name with its length, the description behind it, and then ACK', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'dïsk', '-D', 'the first dïsk'])
  const client = await RawClient.negotiate(t, server)
  t.strictSame(await client.ask(NBD_OPT_LIST), [
    { type: NBD_REP_SERVER, payload: Buffer.concat([lengthAndText('dïsk'), Buffer.from('the first dïsk')]) },
    { type: NBD_REP_ACK, payload: Buffer.alloc(0) }
  ])
})

void t.test(
  'LIST - the default export has an empty name; without description nothing follows it',
  async (t) => {
    const client = await RawClient.negotiate(t, await Mqnbd.serve(t, ['memory:1M']))
    const [first, second] = await client.ask(NBD_OPT_LIST)
    t.strictSame(first, { type: NBD_REP_SERVER, payload: lengthAndText('') })
    t.equal(second!.type, NBD_REP_ACK)
  }
)

void t.test(
  'R4 - LIST with a payload is invalid, its payload is consumed, and LIST works again',
  async (t) => {
    const client = await RawClient.negotiate(t, await Mqnbd.serve(t, ['memory:1M']))
    for (const length of [1, 4, 4096, 64 * 1024]) {
      t.equal(
        await client.askOnce(NBD_OPT_LIST, Buffer.alloc(length, 0x49)),
        NBD_REP_ERR_INVALID,
        `${length} bytes`
      )
    }
    t.ok((await client.askOnce(NBD_OPT_LIST, Buffer.alloc(MiB))) >= 0x80000000, '1 MiB')
    t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
  }
)
