import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_REP_ERR_INVALID
} from '../helpers/raw-constants.ts'
import { infoPayload } from '../helpers/raw-wire.ts'

const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
const INFOS = [NBD_INFO_BLOCK_SIZE, 0]

const badNameLengths = {
  '0xffffffff': infoPayload('disk', INFOS, { nameLength: 0xffffffff }),
  '0x80000000': infoPayload('disk', INFOS, { nameLength: 0x80000000 }),
  '0x7fffffff': infoPayload('disk', INFOS, { nameLength: 0x7fffffff }),
  'one too many': infoPayload('disk', INFOS, { nameLength: 5 }),
  'one too few': infoPayload('disk', INFOS, { nameLength: 3 }),
  'the whole payload': infoPayload('disk', [], { nameLength: 10 }),
  'up to the number of requests': infoPayload('disk', [], { nameLength: 6 })
}
const badCounts = {
  'one request too few': infoPayload('disk', INFOS, { count: 3 }),
  'one request too many': infoPayload('disk', INFOS, { count: 1 }),
  '65535 requests announced': infoPayload('disk', INFOS, { count: 65535 }),
  'requests, but none announced': infoPayload('disk', INFOS, { count: 0 }),
  'a byte behind the last request': Buffer.concat([infoPayload('disk', INFOS), Buffer.alloc(1)]),
  'half a request': infoPayload('disk', INFOS).subarray(0, -1)
}

for (const [rule, payloads] of [
  ['R2 - a name length that does not fit', badNameLengths],
  ['R3 - a number of information requests that does not fit', badCounts]
] as const) {
  for (const [what, payload] of Object.entries(payloads)) {
    void t.test(`${rule} (${what}) is invalid to INFO and GO, and the connection is in step`, async (t) => {
      const client = await RawClient.negotiate(t, server)
      t.equal(await client.askOnce(NBD_OPT_INFO, payload), NBD_REP_ERR_INVALID)
      t.equal(await client.askOnce(NBD_OPT_GO, payload), NBD_REP_ERR_INVALID)
      t.equal((await client.ask(NBD_OPT_LIST)).length, 2)
      t.equal((await client.go('disk', INFOS)).size, 1n << 20n)
    })
  }
}

void t.test(
  'R3 - a payload of GO that is cut short anywhere is invalid, and the connection is in step',
  async (t) => {
    const client = await RawClient.negotiate(t, server)
    const whole = infoPayload('disk', INFOS)
    for (let length = 0; length < whole.length; length++) {
      t.equal(
        await client.askOnce(NBD_OPT_GO, whole.subarray(0, length)),
        NBD_REP_ERR_INVALID,
        `${length} bytes`
      )
    }
    t.equal((await client.go('disk', INFOS)).size, 1n << 20n)
  }
)
