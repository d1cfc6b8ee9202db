import t from 'tap'
import { NBDServer } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'

void t.test('close - flushes all nodes, also when the flush of one fails, and tells of it', async (t) => {
  const server = await NBDServer.start({ iothreads: 1 })
  const flushed: string[] = []
  for (const name of ['a', 'b', 'c']) {
    const node = await openImage({ image: 'memory:1M' })
    node.flush = async () => {
      flushed.push(name)
      if (name === 'a') throw new NBDError('request', 'no such device', { errno: 6 })
    }
    await server.addExport(node, { name })
  }
  const error: unknown = await server.close(1000).catch((error: unknown) => error)
  t.match(error, { kind: 'request', message: 'the last flush failed, and data may be lost: no such device' })
  t.strictSame(flushed, ['a', 'b', 'c'])
  await t.rejects(server.drain('a'), NBDError)
})
