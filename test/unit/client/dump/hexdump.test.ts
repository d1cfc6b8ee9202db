import t from 'tap'
import { hexdump } from '../../../../client/dump/hexdump.ts'
import { MiB } from '../../../helpers/files.ts'
import { collect, DATA, extentList, HOLE, MemorySource } from '../copy/helpers.ts'

const dump = async (source: MemorySource, offset = 0, length = source.size - offset): Promise<string> =>
  (await collect(hexdump(source, { offset, length, colour: false }))).join('')

const ZEROES = `00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00 |................|\n`

void t.test('hexdump - lines, squeezed where they repeat, and the last one always', async (t) => {
  const bytes = Buffer.alloc(0x54)
  bytes.write('hello, \x7f world!\xff', 0x30, 'latin1')
  t.equal(
    await dump(new MemorySource(bytes)),
    [
      `0000000000: ${ZEROES}`,
      '*\n',
      '0000000030: 68 65 6c 6c 6f 2c 20 7f  20 77 6f 72 6c 64 21 ff |hello, . world!.|\n',
      `0000000040: ${ZEROES}`,
      '0000000050: 00 00 00 00                                      |....            |\n'
    ].join('')
  )
  t.equal(await dump(new MemorySource(Buffer.alloc(0))), '')
})

void t.test('hexdump - any range', async (t) => {
  const bytes = Buffer.from('0123456789abcdefghijklmnopqrstuvwxyz')
  const source = new MemorySource(bytes)
  const second = '000000000c: 63 64 65                                         |cde             |\n'
  t.equal(await dump(source, 12, 3), second)
  t.equal(await dump(source, 3, 0), '')
  const blocks = new MemorySource(Buffer.concat([bytes, Buffer.alloc(476)]), { minimum: 512 })
  t.equal(await dump(blocks, 12, 3), second, 'also of whole blocks')
})

void t.test('hexdump - what is told to be zero is as what is read as zero, and is not read', async (t) => {
  const bytes = Buffer.alloc(4 * MiB + 5)
  bytes[3] = bytes[2 * MiB + 1] = 1
  const extents = extentList(4096, DATA, 2 * MiB - 4096, HOLE, 512, DATA, 2 * MiB - 507, HOLE)
  const told = new MemorySource(bytes, { extents })
  for (const [offset, length] of [
    [0, bytes.length],
    [1, bytes.length - 1],
    [5000, 70_000],
    [8192, MiB],
    [3 * MiB, MiB + 5],
    [3 * MiB, MiB - 5]
  ]) {
    t.equal(await dump(told, offset, length), await dump(new MemorySource(bytes), offset, length))
  }
  t.ok(told.reads.reduce((sum, [, length]) => sum + length, 0) < MiB)
})
