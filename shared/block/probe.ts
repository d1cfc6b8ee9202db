/**
 * What format an image is in, by its first bytes.
 *
 * @see bdrv_probe_all in QEMU's block.c and the formats' own probe functions
 */

/** Bytes that `probeFormat` wants to see. */
export const PROBE_SIZE = 2048

interface Magic {
  format: string
  at: number
  bytes: Buffer
}

const ascii = (format: string, at: number, text: string): Magic => ({
  format,
  at,
  bytes: Buffer.from(text, 'latin1')
})

const magics: Magic[] = [
  ascii('qcow2', 0, 'QFI\xfb'),
  ascii('qed', 0, 'QED\0'),
  ascii('vmdk', 0, 'KDMV'),
  ascii('vmdk', 0, 'COWD'),
  ascii('vmdk', 0, '# Disk DescriptorFile'),
  ascii('vdi', 0x40, '\x7f\x10\xda\xbe'),
  ascii('vhdx', 0, 'vhdxfile'),
  ascii('vpc', 0, 'conectix'),
  ascii('luks', 0, 'LUKS\xba\xbe'),
  ascii('parallels', 0, 'WithoutFreeSpace'),
  ascii('parallels', 0, 'WithouFreSpacExt'),
  ascii('bochs', 0, 'Bochs Virtual HD Image')
]

/**
 * @param head the first bytes of the image, fewer than PROBE_SIZE only when it is shorter
 * @returns `raw` when nothing else is recognised
 */
export function probeFormat(head: Buffer): string {
  const hit = magics.find(
    ({ at, bytes }) => head.length >= at + bytes.length && bytes.equals(head.subarray(at, at + bytes.length))
  )
  return hit?.format ?? 'raw'
}
