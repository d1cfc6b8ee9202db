import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'

void t.test('port - in use: status 1, and who uses it is not disturbed', async (t) => {
  const first = await Mqnbd.serve(t, ['memory:1M', '-p', '0', '-b', '127.0.0.1'])
  const { port } = new URL(first.uri)
  const second = await mqnbd(t, 'serve', 'memory:1M', '-b', '127.0.0.1', '-p', port)
  isRefusal(
    t,
    second,
    1,
    new RegExp(`cannot listen on 127\\.0\\.0\\.1 port ${port}: address already in use`),
    port
  )
  await t.resolves(RawClient.transmit(t, first))
})

void t.test('port - is free again when a server has ended, though it had clients', async (t) => {
  const first = await Mqnbd.serve(t, ['memory:1M', '-p', '0', '-b', '127.0.0.1'])
  await RawClient.transmit(t, first)
  const { port } = new URL(first.uri)
  await first.process.end()
  await t.resolves(Mqnbd.serve(t, ['memory:1M', '-b', '127.0.0.1', '-p', port]))
})
