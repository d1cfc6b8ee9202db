/** Bytes that are dropped, between others that are read: by yield's own reading, from the socket, and by other means. */
import t from 'tap'
import type { CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIO_CHANNEL_ERR_BLOCK, type QIOChannel } from '../../../../shared/io/channel.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { requires } from '../../../helpers/requires.ts'
import { within } from '../../../helpers/wait-for.ts'
import { pattern, run, send, whole } from './channel-bytes.ts'
import { kinds, type KindName } from './channel-kinds.ts'

const SIZE = 3 * 1024 * 1024
const READ = 5000

/** Reads some, drops some, up to the end of the stream. @returns whether what was read is what was written there */
function* readAndDrop(channel: QIOChannel, bytes: Buffer, limited: boolean): CoroutineFn<boolean> {
  const memory = Memory.allocate(READ)
  channel.limitWait(limited ? 1024 : Infinity)
  let right = true
  for (let at = 0, drops = 1; at < SIZE; drops++) {
    let left = Math.min(drops % 7 === 0 ? 300_000 : drops * 100, SIZE - at)
    at += left
    while (left > 0) {
      const n = channel.drop(left)
      if (n === 0) return false
      if (n === QIO_CHANNEL_ERR_BLOCK) yield* channel.yield('in')
      else left -= n
    }
    const length = Math.min(READ, SIZE - at)
    if (length === 0) break
    yield* channel.readvAll([{ memory, start: 0, end: length }])
    right &&= memory.buffer.compare(bytes, at, at + length, 0, length) === 0
    at += length
  }
  while (channel.drop(1) === QIO_CHANNEL_ERR_BLOCK) yield* channel.yield('in')
  return right && channel.readv(whole(memory)) === 0
}

for (const name of ['socket ipv4', 'socket unix', 'pair', 'tls', 'node:tls'] as const satisfies KindName[]) {
  const skipped = name.endsWith('tls') ? requires('certtool') : {}
  for (const limited of [false, true]) {
    const title = `${name}: drop - leaves what is behind it${limited ? ', when waits bring little' : ''}`
    void t.test(title, skipped, async (t) => {
      const ends = await kinds[name].connect(t)
      const [writer, reader] = (await Promise.all(ends.map(({ handle }) => kinds[name].open(handle)))) as [
        QIOChannel,
        QIOChannel
      ]
      t.teardown(() => Promise.all([writer.close(), reader.close()]))
      const bytes = pattern(SIZE)
      const read = run(() => readAndDrop(reader, bytes, limited))
      await within('what is sent', send(writer, bytes))
      writer.shutdown('write')
      t.equal(await within('what is read', read), true)
    })
  }
}
