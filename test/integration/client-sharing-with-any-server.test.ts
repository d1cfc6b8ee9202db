import t from 'tap'
import { connect } from '../../client/index.ts'
import { startThreads } from '../helpers/iothreads.ts'
import { requires } from '../helpers/requires.ts'
import { ATTACH, CLOSE, ROUNDS_SIZE, WRITE_AND_READ } from '../helpers/shared-disk.ts'
import { peers } from '../unit/client/helpers/peers.ts'

const THREADS = 4

for (const [name, { needs, serve }] of Object.entries(peers)) {
  void t.test(`sharing - four IOThreads use one connection: ${name}`, requires(...needs), async (t) => {
    const threads = await startThreads(t, THREADS)
    const disk = await connect(await serve(t))
    t.teardown(() => disk.close())
    const handle = await disk.share()
    await Promise.all(threads.map((thread) => thread.run(ATTACH, handle)))
    const checked = threads.map((thread, i) =>
      thread.run(WRITE_AND_READ, { base: i * ROUNDS_SIZE, rounds: 4 })
    )
    t.strictSame((await Promise.all(checked)).flat(), [])
    await Promise.all(threads.map((thread) => thread.run(CLOSE, undefined)))
    // The one that is left goes on alone.
    t.equal((await disk.read(0, 4096)).length, 4096)
  })
}
