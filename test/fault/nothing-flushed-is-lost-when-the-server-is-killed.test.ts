import * as crypto from 'node:crypto'
import t from 'tap'
import { emptyImage, KiB, MiB, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import { requires } from '../helpers/requires.ts'

const LENGTH = 48 * KiB

void t.test(
  'killed server - what a flush covered is in the file, whichever connection wrote it',
  async (t) => {
    const image = emptyImage(t, 64 * MiB)
    const server = await Mqnbd.serve(t, [image, '--iothreads', '2'])
    const [one, other] = [await RawClient.transmit(t, server), await RawClient.transmit(t, server)]
    const written = new Map<number, Buffer>()
    for (let offset = 0; offset < 16 * MiB; offset += LENGTH) {
      const payload = crypto.randomBytes(LENGTH)
      const client = written.size % 2 === 0 ? one : other
      const { error } = await client.call({ type: NBD_CMD_WRITE, offset, payload })
      if (error === 0) written.set(offset, payload)
    }
    t.equal((await one.call({ type: NBD_CMD_FLUSH })).error, 0)
    // This is in flight when the end comes.
    other.send(request({ type: NBD_CMD_WRITE, offset: 32 * MiB, payload: Buffer.alloc(8 * MiB, 'late') }))
    t.same(await server.process.end('SIGKILL'), { status: null, signal: 'SIGKILL' })
    const lost = [...written].filter(([offset, payload]) => !readAt(image, offset, LENGTH).equals(payload))
    t.ok(written.size > 300, `of ${written.size} writes`)
    t.same(lost, [], 'none is lost')
  }
)

void t.test('killed server - what was written with FUA is in the file', async (t) => {
  const image = emptyImage(t, MiB)
  const server = await Mqnbd.serve(t, [image])
  const client = await RawClient.transmit(t, server)
  const payload = crypto.randomBytes(LENGTH)
  t.equal((await client.call({ type: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_FUA, offset: 1, payload })).error, 0)
  await server.process.end('SIGKILL')
  t.ok(readAt(image, 1, LENGTH).equals(payload))
})

void t.test(
  'killed server - one that takes its place shows what was flushed',
  requires('qemu-io'),
  async (t) => {
    const image = emptyImage(t, 8 * MiB)
    const killed = await Mqnbd.serve(t, [image])
    await qemuIo(t, killed.uri, 'write -P 0x42 1M 3M', 'write -P 0x43 5000001 77', 'flush')
    await killed.process.end('SIGKILL')
    // The same socket path, with what the dead one left there.
    const next = await Mqnbd.serve(t, [image, '-k', killed.socket!])
    await t.resolves(qemuIo(t, next.uri, 'read -P 0 0 1M', 'read -P 0x42 1M 3M', 'read -P 0x43 5000001 77'))
  }
)
