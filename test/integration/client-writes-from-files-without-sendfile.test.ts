import * as crypto from 'node:crypto'
import { constants } from 'node:os'
import t from 'tap'
import { openFile, writeFromFile } from '../helpers/file-writes.ts'
import { MiB } from '../helpers/files.ts'
import { requires } from '../helpers/requires.ts'
import { waysWithoutSockets } from '../helpers/ways-without-sockets.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const { EIO } = constants.errno

for (const [name, { needs, connect }] of Object.entries(waysWithoutSockets)) {
  void t.test(`client, writeFile - over ${name} the file is read`, requires(...needs), async (t) => {
    const disk = await connect(t)
    t.notOk(disk.sendsFiles)
    await writeFromFile(t, disk, 1)
    const bytes = crypto.randomBytes(1000)
    const { fd } = openFile(t, bytes)
    await disk.writeFile(7, 1000, { fd, position: 0 }, { fua: true })
    const failure = await failureOf(disk.writeFile(0, 1001, { fd, position: 0 }))
    t.match(failure, { kind: 'request', errno: EIO, message: /the file that is sent has become shorter/ })
    t.equal(disk.state, 'READY', 'that is no matter of the connection')
    t.ok((await disk.read(7, 1000)).equals(bytes))
    await disk.close()
  })
}

void t.test('client, writeFile - over a WebSocket, given up', async (t) => {
  const disk = await waysWithoutSockets['a WebSocket'].connect(t)
  const { fd } = openFile(t, crypto.randomBytes(4 * MiB))
  const controller = new AbortController()
  const { signal } = controller
  const writes = [0, 4 * MiB].map((offset) =>
    disk.writeFile(offset, 4 * MiB, { fd, position: 0 }, { signal })
  )
  controller.abort()
  for (const write of writes) await t.rejects(write, { name: 'AbortError' })
  t.equal((await disk.read(0, 512)).length, 512, 'the connection goes on')
  await disk.close()
})
