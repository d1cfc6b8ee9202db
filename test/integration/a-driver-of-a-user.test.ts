import t from 'tap'
import '../helpers/own-driver.ts'
import { connect } from '../../client/index.ts'
import { serveImages } from '../helpers/raw-server.ts'

void t.test("a user's driver - every IOThread that serves its nodes imports it", async (t) => {
  const own = await serveImages(t, { '': 'own:7' }, { iothreads: 2 })
  const disks = await Promise.all([connect(own.uri), connect(own.uri)])
  for (const disk of disks) {
    t.same(await disk.read(512, 4), Buffer.from([7, 7, 7, 7]))
    await disk.close()
  }
})
