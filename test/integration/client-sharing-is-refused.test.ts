import t, { type Test } from 'tap'
import { connect, QIOChannelPair, type NBDDisk } from '../../client/index.ts'
import { NBDServer } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { serveImages } from '../helpers/raw-server.ts'
import { requires } from '../helpers/requires.ts'
import { serveTls } from '../helpers/tls-server.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'

/** A disk that cannot be shared goes on as it was. */
async function refuses(t: Test, disk: NBDDisk, message: string): Promise<void> {
  t.teardown(() => disk.close())
  t.match(await failureOf(disk.share()), { kind: 'config', message })
  t.equal((await disk.read(0, 512)).length, 512)
}

void t.test('sharing is refused - an in-memory pair', async (t) => {
  const server = await NBDServer.start({ iothreads: 1 })
  t.teardown(() => server.close(0))
  await server.addExport(await openImage({ image: 'memory:1M' }))
  const [channel, served] = QIOChannelPair.create()
  server.serveChannel(served)
  const text =
    'a connection that is not a TCP or Unix socket can be shared by threads only if it was opened as shareable'
  await refuses(t, await connect({ channel }), text)
})

void t.test('sharing is refused - TLS', requires('certtool'), async (t) => {
  const { server, ca } = await serveTls(t)
  const disk = await connect(server.uri, { tls: { certificates: ca.folder } })
  await refuses(t, disk, 'a connection with TLS can be shared by threads only if it was opened as shareable')
})

void t.test('sharing is refused - calls that are widened', requires('nbdkit'), async (t) => {
  const policy = ['--filter=blocksize-policy', 'memory', '1M']
  const sizes = ['blocksize-minimum=512', 'blocksize-preferred=4096', 'blocksize-maximum=64K']
  const server = await Nbdkit.serve(t, [...policy, ...sizes, 'blocksize-error-policy=error'])
  const disk = await connect(server.uri, { unaligned: 'widen' })
  await refuses(t, disk, 'a disk whose calls are widened cannot be shared by threads')
})

void t.test('sharing is refused - a disk that is closed', async (t) => {
  const { uri } = await serveImages(t, { '': 'memory:1M' })
  const disk = await connect(uri)
  await disk.close()
  t.match(await failureOf(disk.share()), { kind: 'transport', message: 'sharing: the connection was closed' })
})
