import t from 'tap'
import { readUint16, readUint32, writeUint16, writeUint32 } from '../../../../shared/protocol/uint.ts'

void t.test('uint16 - both ways, at any place in a buffer', async (t) => {
  for (const [value, hex] of [
    [0, '0000'],
    [0xff, '00ff'],
    [0x1234, '1234'],
    [0x8000, '8000'],
    [0xffff, 'ffff']
  ] as const) {
    const bytes = Buffer.alloc(2 + 3, 0xee)
    writeUint16(bytes, 1, value)
    t.equal(bytes.toString('hex'), `ee${hex}eeee`)
    t.equal(readUint16(bytes, 1), value)
  }
})

void t.test('uint32 - both ways, at any place in a buffer', async (t) => {
  for (const [value, hex] of [
    [0, '00000000'],
    [0xffff, '0000ffff'],
    [0x12345678, '12345678'],
    [0x80000000, '80000000'],
    [0xffffffff, 'ffffffff']
  ] as const) {
    const bytes = Buffer.alloc(4 + 3, 0xee)
    writeUint32(bytes, 3, value)
    t.equal(bytes.toString('hex'), `eeeeee${hex}`)
    t.equal(readUint32(bytes, 3), value)
  }
})
