import t from 'tap'
import { Bystander } from '../helpers/bystander.ts'
import { KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { residentBytes } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import type { Test } from '../helpers/requires.ts'
import { waitFor } from '../helpers/wait-for.ts'

/** A client that asks for much more than sockets hold, and reads no answer. */
async function deafClient(t: Test, server: Mqnbd, length: number, count: number): Promise<void> {
  const client = await RawClient.transmit(t, server)
  client.send(Buffer.concat(Array<Buffer>(count).fill(request({ type: NBD_CMD_READ, length, offset: MiB }))))
  await waitFor('the server to answer', () => client.pending > 0)
  client.socket.pause()
}

void t.test('deaf client - others are served, by the same thread, and memory is bounded', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:64M', '--iothreads', '1'])
  const bystander = await Bystander.start(t, server)
  await bystander.goesOn()
  const resident = residentBytes(server.process.pid)
  for (let i = 0; i < 5; i++) {
    await deafClient(t, server, 16 * KiB, 20_000)
    await deafClient(t, server, 4 * MiB, 1000)
  }
  await bystander.goesOn()
  const growth = residentBytes(server.process.pid) - resident
  t.ok(growth < 200 * MiB, `21 GB of answers wait in ${growth} bytes`)
  await bystander.stop()
})

void t.test('deaf client - the first signal waits for it, a second one ends at once', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:64M'])
  await deafClient(t, server, 4 * MiB, 100)
  const start = performance.now()
  // Signals that come together count as one.
  await waitFor('the end', () => {
    server.process.child.kill('SIGTERM')
    return server.process.ended
  })
  const ms = performance.now() - start
  t.ok(ms > 900 && ms < 8000, `${ms} ms`)
  t.equal((await server.process.exit).status, 1, 'something was cut off')
})

void t.test('deaf client - the server waits for it only so long', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:64M'])
  await deafClient(t, server, 4 * MiB, 100)
  t.same(await server.process.end('SIGTERM'), { status: 0, signal: null })
  t.match(server.process.stderr, /connections did not end within 10000 ms/)
})
