import t from 'tap'
import {
  encodeExportNameAnswer,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  NBD_INFO_BLOCK_SIZE_SIZE,
  NBD_INFO_EXPORT_SIZE
} from '../../../../../shared/protocol/messages/export-info.ts'

const SIZES: [number, string][] = [
  [0, '0000000000000000'],
  [1, '0000000000000001'],
  [0xffffffff, '00000000ffffffff'],
  [2 ** 32, '0000000100000000'],
  [2 ** 53 - 1, '001fffffffffffff']
]

void t.test('NBD_INFO_EXPORT - golden bytes, for sizes up to 2^53 - 1', async (t) => {
  for (const [size, hex] of SIZES)
    t.equal(encodeInfoExport(size, 0x8dff).toString('hex'), '0000' + hex + '8dff')
  t.equal(encodeInfoExport(0, 0).length, NBD_INFO_EXPORT_SIZE)
  t.equal(NBD_INFO_EXPORT_SIZE, 12)
})

void t.test('NBD_INFO_NAME and NBD_INFO_DESCRIPTION - golden bytes', async (t) => {
  t.equal(encodeInfoText(1, 'disk').toString('hex'), '0001' + '6469736b')
  t.equal(encodeInfoText(2, 'é').toString('hex'), '0002' + 'c3a9')
  t.equal(encodeInfoText(1, '').toString('hex'), '0001')
})

void t.test('NBD_INFO_BLOCK_SIZE - golden bytes', async (t) => {
  const sizes = { minimum: 1, preferred: 4096, maximum: 0xffffffff }
  t.equal(encodeInfoBlockSize(sizes).toString('hex'), '0003' + '00000001' + '00001000' + 'ffffffff')
  t.equal(NBD_INFO_BLOCK_SIZE_SIZE, 14)
})

void t.test("EXPORT_NAME's answer - golden bytes, with 124 zeroes and without", async (t) => {
  for (const [size, hex] of SIZES) {
    t.equal(encodeExportNameAnswer(size, 0x0103, false).toString('hex'), hex + '0103')
    t.equal(encodeExportNameAnswer(size, 0x0103, true).toString('hex'), hex + '0103' + '00'.repeat(124))
  }
})
