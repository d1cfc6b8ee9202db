import * as fs from 'node:fs'
import t from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { emptyImage, KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { waitFor } from '../helpers/wait-for.ts'

const SIZE = 4 * MiB
const AREAS = 8
const AREA = SIZE / AREAS
const KILLS = 2

interface Load {
  /** Calls that have ended well. */
  calls: number
  stop: boolean
  wrong: string[]
}

/** Writes, zeroes and reads back in an area of its own until it is told to stop. */
async function work(disk: NBDDisk, shadow: Buffer, area: number, load: Load): Promise<void> {
  for (let round = 0; !load.stop; round++) {
    const offset = area * AREA + ((round * 7919) % (AREA - 64 * KiB))
    const length = 1 + ((round * 104_729) % (64 * KiB))
    if (round % 5 === 4) {
      shadow.fill(0, offset, offset + length)
      await disk.zero(offset, length)
    } else {
      shadow.fill(1 + ((round + area) % 255), offset, offset + length)
      await disk.write(offset, shadow.subarray(offset, offset + length))
    }
    const read = await disk.read(offset, length)
    if (!read.equals(shadow.subarray(offset, offset + length)))
      load.wrong.push(`${length} bytes at ${offset}`)
    load.calls += 2
  }
}

for (const connections of [1, 3]) {
  void t.test(
    `client - goes on when the server is killed and started again: ${connections} connections`,
    async (t) => {
      const image = emptyImage(t, SIZE)
      const args = [image, '-f', 'raw', '--iothreads', '2']
      let server = await Mqnbd.serve(t, args)
      const disk = await connect(server.uri, { connections, reconnectDelayMs: 120_000 })
      t.equal(disk.connections, connections)
      const shadow = Buffer.alloc(SIZE)
      const load: Load = { calls: 0, stop: false, wrong: [] }
      const workers = Array.from({ length: AREAS }, (_, area) => work(disk, shadow, area, load))
      const all = Promise.all(workers)
      // What fails ends the test, not the process.
      all.catch(() => (load.stop = true))
      for (let kills = 0; kills < KILLS; kills++) {
        const before = load.calls
        await waitFor('the load to run', () => load.calls > before + 100 || load.stop)
        await server.process.end('SIGKILL')
        await waitFor('the client to notice', () => disk.state !== 'READY')
        t.equal(disk.state, 'CONNECTING')
        server = await Mqnbd.serve(t, [...args, '-k', server.socket!])
      }
      const before = load.calls
      await waitFor('the load to go on', () => load.calls > before + 100 || load.stop)
      load.stop = true
      await all
      t.strictSame(load.wrong, [], 'every read gives what was written')
      await disk.flush()
      await waitFor('all connections', () => disk.connections === connections)
      await disk.close()
      t.ok(fs.readFileSync(image).equals(shadow), 'every write is there')
    }
  )
}
