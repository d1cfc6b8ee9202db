import * as fs from 'node:fs'
import t from 'tap'
import { Bystander } from '../helpers/bystander.ts'
import { endpoints } from '../helpers/endpoints.ts'
import { allocatedBytes, emptyImage, imageOf, MiB } from '../helpers/files.ts'
import { Launched } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import { program, requires } from '../helpers/requires.ts'
import { waitFor } from '../helpers/wait-for.ts'

for (const [where, address] of Object.entries(endpoints)) {
  void t.test(`client - gone with half a WRITE sent, ${where}`, async (t) => {
    const image = imageOf(t, Buffer.alloc(4 * MiB, 0x11))
    const server = await Mqnbd.serve(t, [image, '--iothreads', '1', ...address])
    const bystander = await Bystander.start(t, server)
    const sockets = openSockets(server.process.pid)

    // Within one receive, and over many of them.
    for (const length of [4096, 3 * MiB]) {
      const victim = await RawClient.transmit(t, server)
      const write = request({ type: NBD_CMD_WRITE, offset: MiB, payload: Buffer.alloc(length, 0x22) })
      await victim.sent(write.subarray(0, write.length / 2))
      await bystander.goesOn()
      victim.socket.destroy()
      await waitFor('the server to let go', () => openSockets(server.process.pid) === sockets)
    }

    await bystander.goesOn()
    await bystander.stop()
    t.ok(
      fs
        .readFileSync(image)
        .subarray(MiB)
        .equals(Buffer.alloc(3 * MiB, 0x11)),
      'no half of it was written'
    )
    t.same(await server.process.end(), { status: 0, signal: null })
    t.equal(server.process.stderr, '', 'and that was no news')
  })
}

void t.test('client - fio killed in mid-write', requires('fio'), async (t) => {
  const image = emptyImage(t, 64 * MiB)
  const server = await Mqnbd.serve(t, [image, '--iothreads', '2'])
  const bystander = await Bystander.start(t, server)
  const sockets = openSockets(server.process.pid)

  const fio = new Launched(t, program('fio'), [
    ...['--name=victim', '--thread', '--numjobs=4', '--ioengine=nbd', `--uri=${server.uri}`],
    ...['--rw=randwrite', '--bs=64k', '--iodepth=16', '--offset=1M', '--size=60M'],
    ...['--time_based', '--runtime=100']
  ])
  await waitFor('fio to write', () => {
    if (fio.ended) throw new Error(`fio has ended: ${fio.stdout}${fio.stderr}`)
    return allocatedBytes(image) > 8 * MiB
  })
  t.same(await fio.end('SIGKILL'), { status: null, signal: 'SIGKILL' })

  await waitFor('the server to let go', () => openSockets(server.process.pid) === sockets)
  await bystander.goesOn()
  await bystander.stop()
  t.same(await server.process.end(), { status: 0, signal: null })
})
