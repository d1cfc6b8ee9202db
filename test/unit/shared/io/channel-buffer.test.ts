import t from 'tap'
import { QIOChannelBuffer } from '../../../../shared/io/channel-buffer.ts'
import type { IOVec } from '../../../../shared/io/channel.ts'
import { equalBytes, fillPattern, iovecs } from './channel-validator.ts'

const text = (iov: IOVec[]): string =>
  iov.map(({ memory, start, end }) => memory.buffer.toString('latin1', start, end)).join('')

/** One piece that holds the text. */
function pieceOf(value: string): IOVec[] {
  const iov = iovecs(1, value.length)
  iov[0]!.memory.buffer.write(value, 'latin1')
  return iov
}

void t.test('buffer: grows up to its limit, and keeps what was written', async (t) => {
  const limit = 100_000
  const channel = new QIOChannelBuffer(limit)
  t.equal(channel.bytes.length, 0)
  const written = iovecs(25, 4000)
  fillPattern(written, 1)
  for (const piece of written.slice(0, 24)) t.equal(channel.writev([piece]), 4000)
  t.equal(channel.writev(iovecs(1, 0)), 0)
  const last = { ...written[24]!, end: 4001 }
  t.equal(channel.writev([last]), 4000, 'what there is room for')
  t.throws(() => channel.writev(pieceOf('x')), { kind: 'transport', message: /holds 100000 bytes/ })
  t.equal(channel.writev([]), 0)
  const read = iovecs(26, 4000)
  t.equal(channel.readv(read), limit)
  t.ok(equalBytes(read.slice(0, 25), written))
  t.equal(channel.readv(read), 0)
  t.equal(channel.bytes.length, limit)
})

void t.test('buffer: reads go on where the last one ended, writes at the end', async (t) => {
  const channel = new QIOChannelBuffer(100)
  channel.writev([...pieceOf('01'), ...pieceOf('234'), ...pieceOf('56789')])
  const iov = [...iovecs(1, 3), ...iovecs(1, 1)]
  t.equal(channel.readv(iov), 4)
  t.equal(text(iov), '0123')
  channel.writev(pieceOf('ab'))
  t.equal(channel.bytes.toString(), '0123456789ab')
  channel.seek(9)
  t.equal(channel.readv(iov), 3)
  t.equal(text(iov), '9ab3', 'the rest of the memory is not touched')
  t.equal(channel.readv(iov), 0)
  channel.seek(12)
  t.equal(channel.readv(iov), 0)
  t.throws(() => channel.seek(13), { kind: 'bug', message: /seek to 13 of 12/ })
  t.throws(() => channel.seek(-1), { kind: 'bug', message: /seek to -1/ })
})

void t.test('buffer: only the pieces of the vectors are read and written', async (t) => {
  const channel = new QIOChannelBuffer(100)
  const [source] = pieceOf('0123456789')
  channel.writev([
    { ...source!, start: 2, end: 4 },
    { ...source!, start: 7, end: 8 }
  ])
  t.equal(channel.bytes.toString(), '237')
  const [target] = pieceOf('..........')
  t.equal(
    channel.readv([
      { ...target!, start: 1, end: 2 },
      { ...target!, start: 5, end: 9 }
    ]),
    3
  )
  t.equal(text([target!]), '.2...37...')
})
