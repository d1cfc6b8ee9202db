import { constants } from 'node:os'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { serveImages } from '../helpers/raw-server.ts'
import { READABLE } from '../helpers/unreadable-driver.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

for (const packets of ['simple', 'structured', 'extended'] as const) {
  void t.test(`failing read - of what would be sent from a file, by ${packets} replies`, async (t) => {
    const { uri } = await serveImages(t, { '': 'unreadable:' }, { iothreads: 1 })
    const disk = await connect(uri, { packets })
    t.teardown(() => disk.close())
    t.equal(disk.packets, packets)
    for (const length of [4096, 64 * 1024, 512 * 1024]) {
      const { kind, errno } = await failureOf(disk.read(READABLE, length))
      t.strictSame([kind, errno], ['request', constants.errno.EIO], `${length} bytes`)
    }
    t.equal(disk.state, 'READY')
  })
}
