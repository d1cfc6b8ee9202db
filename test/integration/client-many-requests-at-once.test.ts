import t from 'tap'
import { connect } from '../../client/index.ts'
import { requires } from '../helpers/requires.ts'
import { peers } from '../unit/client/helpers/peers.ts'

const BLOCK = 4096
const COUNT = 300
const LONG = 200 * 1024
const LONG_START = COUNT * BLOCK

for (const [name, { needs, serve }] of Object.entries(peers)) {
  void t.test(`client - many requests at once, short and long: ${name}`, requires(...needs), async (t) => {
    const disk = await connect(await serve(t))
    t.teardown(() => disk.close())
    const blocks = Array.from({ length: COUNT }, (_, i) => Buffer.alloc(BLOCK, 1 + (i % 250)))
    await Promise.all(blocks.map((block, i) => disk.write(i * BLOCK, block)))

    // More replies than a server gathers, beside payloads that it must keep until they are written.
    const wrong: string[] = []
    for (let round = 0; round < 8; round++) {
      const long = Buffer.alloc(LONG, 0x80 + round)
      const [reads] = await Promise.all([
        Promise.all(blocks.map((_, i) => disk.read(i * BLOCK, BLOCK))),
        Promise.all([0, 1, 2].map((i) => disk.write(LONG_START + i * LONG, long)))
      ])
      reads.forEach((read, i) => {
        if (!read.equals(blocks[i]!)) wrong.push(`round ${round}: block ${i}`)
      })
      const longs = await Promise.all([0, 1, 2].map((i) => disk.read(LONG_START + i * LONG, LONG)))
      longs.forEach((read, i) => {
        if (!read.equals(long)) wrong.push(`round ${round}: long write ${i}`)
      })
    }
    t.strictSame(wrong.slice(0, 5), [])
  })
}
