import t from 'tap'
import { readUint64, writeUint64 } from '../../../../shared/protocol/uint64.ts'

void t.test('uint64 - is exact up to 2^53 - 1, both ways, at any place in a buffer', async (t) => {
  for (const [value, hex] of [
    [0, '0000000000000000'],
    [0xffffffff, '00000000ffffffff'],
    [2 ** 32, '0000000100000000'],
    [2 ** 32 + 1, '0000000100000001'],
    [0x0123456789abc, '0000123456789abc'],
    [2 ** 53 - 1, '001fffffffffffff']
  ] as const) {
    const bytes = Buffer.alloc(8 + 3, 0xee)
    writeUint64(bytes, 2, value)
    t.equal(bytes.toString('hex'), `eeee${hex}ee`)
    t.equal(readUint64(bytes, 2), value)
  }
})

void t.test('uint64 - is Infinity from 2^53 on', async (t) => {
  for (const hex of [
    '0020000000000000',
    '0020000000000001',
    '7fffffffffffffff',
    '8000000000000000',
    'ffffffffffffffff'
  ])
    t.equal(readUint64(Buffer.from(hex, 'hex'), 0), Infinity, hex)
})
