import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_OPT_GO, NBD_OPT_LIST, NBD_OPT_STARTTLS } from '../helpers/raw-constants.ts'
import { infoPayload, option } from '../helpers/raw-wire.ts'
import { serveImages } from '../helpers/raw-server.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const LIMIT_MS = 10_000

void t.test(
  'handshake - whoever has chosen no export within 10 s is disconnected',
  { timeout: 60_000 },
  async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M'])
    const start = performance.now()
    const stages: Record<string, (client: RawClient) => Promise<unknown>> = {
      'said nothing': async () => undefined,
      'read the greeting': (client) => client.read(18),
      'shook hands': (client) => client.handshake(),
      'asked for a list': async (client) => {
        await client.handshake()
        await client.ask(NBD_OPT_LIST)
      },
      'stopped within an option': async (client) => {
        await client.handshake()
        client.send(option(NBD_OPT_GO, infoPayload('')).subarray(0, 20))
      }
    }
    const used = await RawClient.transmit(t, server)
    await Promise.all(
      Object.entries(stages).map(async ([what, reach]) => {
        const client = await RawClient.connect(t, server)
        await reach(client)
        await client.closed(2 * LIMIT_MS)
        const took = performance.now() - start
        t.ok(took > 0.9 * LIMIT_MS && took < 1.9 * LIMIT_MS, `${what}: ${Math.round(took)} ms`)
      })
    )
    t.equal((await used.call({ type: NBD_CMD_READ, length: 1 })).error, 0, 'whoever had chosen one goes on')
  }
)

void t.test('handshake - options that keep coming do not extend the time', async (t) => {
  const limitMs = 50
  const server = await serveImages(t, { '': 'memory:1M' }, { iothreads: 1, handshakeTimeoutMs: limitMs })
  const client = await RawClient.negotiate(t, server)
  const start = performance.now()
  let count = 0
  await t.rejects(async () => {
    for (;;) {
      await client.ask(NBD_OPT_LIST)
      count++
    }
  }, /closed the connection/)
  t.ok(performance.now() - start > 0.8 * limitMs)
  t.ok(count < 4096, 'it was not the number of options')
})

void t.test('handshake - with --handshake-limit=1 within a second', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '--handshake-limit=1'])
  const start = performance.now()
  const client = await RawClient.connect(t, server)
  await client.closed(LIMIT_MS)
  const took = performance.now() - start
  t.ok(took > 900 && took < 0.9 * LIMIT_MS, `${Math.round(took)} ms`)
})

void t.test('handshake - the limit is that of TLS, too', async (t) => {
  const psk = path.join(tempDir(t), 'keys.psk')
  fs.writeFileSync(psk, `one:${'00'.repeat(16)}\n`)
  const server = await Mqnbd.serve(t, ['memory:1M', '--tls-psk', psk, '--handshake-limit=12'])
  const start = performance.now()
  const client = await RawClient.connect(t, server)
  await client.handshake()
  await client.ask(NBD_OPT_STARTTLS)
  await client.closed(2 * LIMIT_MS)
  const took = performance.now() - start
  t.ok(took > 1.1 * LIMIT_MS && took < 1.9 * LIMIT_MS, `${Math.round(took)} ms`)
})

void t.test('handshake - with --handshake-limit=0 in any time', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '--handshake-limit=0'])
  const slow = await RawClient.connect(t, server)
  // A timer would end while others come and go.
  for (let i = 0; i < 20; i++) await RawClient.transmit(t, server)
  await slow.handshake()
  t.equal((await slow.ask(NBD_OPT_LIST)).length, 2)
})

void t.test('handshake - more than 4096 options end the connection', async (t) => {
  const client = await RawClient.negotiate(t, await Mqnbd.serve(t, ['memory:1M']))
  client.send(Buffer.concat(Array<Buffer>(4097).fill(option(NBD_OPT_LIST))))
  for (let i = 0; i < 4096; i++) await client.optionReplies(NBD_OPT_LIST)
  t.equal((await client.closed()).length, 0)
})
