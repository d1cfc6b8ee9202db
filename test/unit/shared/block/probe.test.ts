import t from 'tap'
import { PROBE_SIZE, probeFormat } from '../../../../shared/block/probe.ts'

const magics: [string, number, Buffer][] = [
  ['qcow2', 0, Buffer.from([0x51, 0x46, 0x49, 0xfb])],
  ['qed', 0, Buffer.from('QED\0')],
  ['vmdk', 0, Buffer.from('KDMV')],
  ['vmdk', 0, Buffer.from('COWD')],
  ['vmdk', 0, Buffer.from('# Disk DescriptorFile')],
  ['vdi', 64, Buffer.from([0x7f, 0x10, 0xda, 0xbe])],
  ['vhdx', 0, Buffer.from('vhdxfile')],
  ['vpc', 0, Buffer.from('conectix')],
  ['luks', 0, Buffer.from([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe])],
  ['parallels', 0, Buffer.from('WithoutFreeSpace')],
  ['parallels', 0, Buffer.from('WithouFreSpacExt')],
  ['bochs', 0, Buffer.from('Bochs Virtual HD Image')]
]

const headWith = (at: number, magic: Buffer, size = PROBE_SIZE): Buffer => {
  const head = Buffer.alloc(size)
  magic.copy(head, at)
  return head
}

for (const [format, at, magic] of magics) {
  void t.test(
    `probe - ${format} is known by ${magic.toString('hex', 0, 8)} at ${at}, and only there`,
    async (t) => {
      t.equal(probeFormat(headWith(at, magic)), format)
      t.equal(probeFormat(headWith(at, magic, at + magic.length)), format, 'in a file that ends there')
      t.equal(probeFormat(headWith(at, magic, at + magic.length - 1)), 'raw', 'cut by one byte')
      t.equal(probeFormat(headWith(at + 1, magic)), 'raw', 'one byte further on')
      for (let byte = 0; byte < magic.length; byte++) {
        const bent = Buffer.from(magic)
        bent[byte]! ^= 0xff
        t.equal(probeFormat(headWith(at, bent)), 'raw', `byte ${byte} is wrong`)
      }
    }
  )
}

void t.test('probe - everything else is raw', async (t) => {
  for (const head of [
    Buffer.alloc(0),
    Buffer.alloc(1),
    Buffer.alloc(PROBE_SIZE),
    Buffer.alloc(PROBE_SIZE, 0xff)
  ]) {
    t.equal(probeFormat(head), 'raw')
  }
})
