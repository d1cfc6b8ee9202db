import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'

const server = await Mqnbd.serve(t, ['memory:1M'])

void t.test('greeting - is NBDMAGIC, IHAVEOPT, FIXED_NEWSTYLE and NO_ZEROES, and nothing else', async (t) => {
  const client = await RawClient.connect(t, server)
  const greeting = await client.read(18)
  t.equal(greeting.toString('hex'), '4e42444d41474943' + '49484156454f5054' + '0003')
  client.socket.end()
  t.equal((await client.closed()).length, 0)
})

void t.test('greeting - comes before the client has said anything, to each of several clients', async (t) => {
  const clients = await Promise.all(Array.from({ length: 5 }, () => RawClient.connect(t, server)))
  const greetings = await Promise.all(clients.map((client) => client.read(18)))
  t.equal(new Set(greetings.map((greeting) => greeting.toString('hex'))).size, 1)
})

void t.test(
  'greeting - a client that leaves after it, or in the middle of its flags, harms nobody',
  async (t) => {
    for (const said of [0, 1, 3, 4]) {
      const client = await RawClient.connect(t, server)
      await client.read(18)
      client.send(Buffer.from([0, 0, 0, 3]).subarray(0, said))
      client.socket.end()
      t.equal((await client.closed()).length, 0, `after ${said} bytes`)
    }
    t.equal((await (await RawClient.negotiate(t, server)).go('')).size, 1n << 20n)
  }
)
