/** koffi has room for a number of functions that C may call: a server with pre-shared keys must not use them up. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { openImage } from '../../shared/block/open-image.ts'
import '../../shared/block/drivers/index.ts'
import { connect } from '../../client/index.ts'
import { loadServerPsk, NBDServer } from '../../server/index.ts'
import { declareCallback, releaseCallback } from '../../shared/syscall/libc.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const CLOSE_MS = 5000
let declared = 0

/** All that there is room for. */
function fill(): number[] {
  const callbacks: number[] = []
  try {
    for (;;) callbacks.push(declareCallback(`int nothing${declared++}(int number)`, () => 0))
  } catch {
    return callbacks
  }
}

void t.test('NBDServer - threads that have shaken hands by keys give their callbacks back', async (t) => {
  const folder = tempDir(t)
  const file = path.join(folder, 'keys.psk')
  fs.writeFileSync(file, 'alice:00112233445566778899aabbccddeeff\n')
  const creds = loadServerPsk(file)
  const serveOnce = async (): Promise<void> => {
    const server = await NBDServer.start({ iothreads: 1, tls: { creds, required: true } })
    try {
      await server.addExport(await openImage({ image: 'memory:1M' }), { name: '' })
      const socket = path.join(folder, 's')
      await server.listen({ path: socket })
      const disk = await connect(`nbds+unix://alice@/?socket=${socket}&tls-psk-file=${file}`)
      t.ok(disk.tls)
      await disk.close()
    } finally {
      await server.close(CLOSE_MS)
    }
  }
  // The client's end, in this thread, keeps its own.
  await serveOnce()
  const callbacks = fill()
  t.ok(callbacks.length > 1000)
  releaseCallback(callbacks.pop()!)
  for (let i = 0; i < 3; i++) await serveOnce()
  const left = fill()
  t.equal(left.length, 1, 'the last server gave it back, too')
  for (const callback of [...callbacks, ...left]) releaseCallback(callback)
})
