import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_LIST,
  NBD_OPT_STARTTLS
} from '../helpers/raw-constants.ts'
import { infoPayload, option } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

void t.test('client flags - each unknown bit makes the server close the connection', async (t) => {
  for (let bit = 2; bit < 32; bit++) {
    const client = await RawClient.connect(t, server)
    await client.handshake(((1 << bit) | 3) >>> 0)
    t.equal((await client.closed()).length, 0, `bit ${bit}`)
  }
})

void t.test(
  'R47 - client flags with the highest bit set are no negative number: they are refused',
  async (t) => {
    for (const flags of [0xffffffff, 0x80000000]) {
      const client = await RawClient.connect(t, server)
      await client.handshake(flags)
      t.equal((await client.closed()).length, 0, flags.toString(16))
    }
  }
)

void t.test('client flags - all four legal combinations are taken', async (t) => {
  for (const flags of [0, 1, 2, 3]) {
    const client = await RawClient.connect(t, server)
    await client.handshake(flags)
    client.send(option(NBD_OPT_EXPORT_NAME))
    t.equal((await client.read(8)).readBigUInt64BE(), 1n << 20n, `flags ${flags}`)
  }
})

void t.test('client flags - without FIXED_NEWSTYLE every option but EXPORT_NAME disconnects', async (t) => {
  for (const [number, payload] of [
    [NBD_OPT_ABORT, undefined],
    [NBD_OPT_LIST, undefined],
    [NBD_OPT_STARTTLS, undefined],
    [NBD_OPT_GO, infoPayload('')],
    [99, undefined]
  ] as const) {
    const client = await RawClient.connect(t, server)
    await client.handshake(2)
    client.send(option(number, payload))
    t.equal((await client.closed()).length, 0, `option ${number}`)
  }
})
