import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import {
  requiresNewer,
  runNewerOk,
  serveNewerNbdkit,
  serveNewerQemuNbd,
  sharedFolder
} from '../helpers/newer-debian.ts'

void t.test('Debian 13 - its nbdinfo asks our server', requiresNewer('nbdinfo'), async (t) => {
  const { outside, inside } = sharedFolder(t)
  await Mqnbd.serve(t, ['memory:3M', '-k', `${outside}/s`])
  const uri = `nbd+unix:///?socket=${inside}/s`
  t.equal(await runNewerOk(t, 'nbdinfo', ['--size', uri]), `${3 * MiB}\n`)
})

for (const [name, serve] of Object.entries({
  nbdkit: (t: Test) => serveNewerNbdkit(t, ['memory', '8M']),
  'qemu-nbd': (t: Test) => serveNewerQemuNbd(t, 8 * MiB)
})) {
  void t.test(`Debian 13 - our client asks its ${name}`, requiresNewer(name), async (t) => {
    const disk = await connect((await serve(t)).uri)
    t.equal(disk.size, 8 * MiB)
    await disk.close()
  })
}
