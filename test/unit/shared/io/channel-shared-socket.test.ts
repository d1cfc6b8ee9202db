/** A socket with a view in each of several threads. */
import t from 'tap'
import type { EntryPoint } from '../../../../shared/aio/entry-point.ts'
import type { ShutdownMode } from '../../../../shared/io/channel.ts'
import type { SocketHandle } from '../../../../shared/io/channel-socket.ts'
import type { IOThread } from '../../../../shared/iothread/io-thread.ts'
import { startThreads } from '../../../helpers/iothreads.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { within } from '../../../helpers/wait-for.ts'

const task = <A, R>(name: string): EntryPoint<A, R> => ({
  module: new URL('./shared-socket-tasks.js', import.meta.url).href,
  name
})
const settle = (thread: IOThread): Promise<void> => thread.run(task<null, void>('settle'), null)

void t.test('shutdown in one thread wakes who waits in another', async (t) => {
  const threads = await startThreads(t, 3)
  const [reader, writer, other] = threads as [IOThread, IOThread, IOThread]
  for (const family of ['tcp', 'unix'] as const) {
    const maker = await PairMaker.listen(t, family)
    for (const mode of ['both', 'read', 'write'] as const) {
      const { channel, peer } = await maker.make(t)
      peer.pause()
      channel.setFollowCoroutineCtx(true)
      for (const thread of threads) {
        await thread.run(task<SocketHandle, void>('attach'), channel.handle())
      }
      const reading = reader.run(task<null, string>('read'), null)
      const writing = writer.run(task<null, string>('write'), null)
      await settle(reader)
      await settle(writer)
      await other.run(task<ShutdownMode, void>('shutdown'), mode)
      const name = `${family}, ${mode}`
      // Here Linux wakes nobody before there is room.
      if (family === 'unix' && mode === 'write') peer.resume()
      if (mode !== 'write') t.equal(await within(`reader: ${name}`, reading, 5000), 'the end', name)
      if (mode !== 'read') t.match(await within(`writer: ${name}`, writing, 5000), /EPIPE|broken pipe/i, name)
      peer.destroy()
      await within('both', Promise.all([reading, writing]))
      for (const thread of threads) await within('the close', thread.run(task<null, void>('close'), null))
    }
  }
})
