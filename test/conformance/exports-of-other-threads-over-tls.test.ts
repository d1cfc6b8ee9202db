import t from 'tap'
import * as path from 'node:path'
import { loadServerCreds, NBDServer } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ } from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { clientOptions } from '../helpers/tls-server.ts'

void t.test('TLS - every export can be used, whichever threads serve it', requires('certtool'), async (t) => {
  const { folder } = TestCA.make(t).server().client()
  const creds = loadServerCreds(folder, { verifyPeer: true })
  const server = await NBDServer.start({ iothreads: 1, tls: { creds, required: true } })
  t.teardown(() => server.close(0))
  // Each has a thread of its own, and the connections begin in all of them.
  for (const name of ['a', 'b', 'c'])
    await server.addExport(await openImage({ image: 'memory:1M' }), { name })
  const socket = path.join(tempDir(t), 's')
  await server.listen({ path: socket })
  for (const name of ['a', 'b', 'c', 'a', 'b', 'c', 'c', 'b', 'a']) {
    const client = await RawClient.negotiate(t, { socket, uri: '' })
    await client.startTls(clientOptions(folder))
    await client.go(name)
    t.equal((await client.call({ type: NBD_CMD_READ, length: 512 })).data.length, 512, name)
  }
})
