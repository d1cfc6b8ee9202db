/** From what a user names to an open node. */
import { configError } from '../errors/nbd-error.ts'
import { parseSize } from '../config/size.ts'
import { Memory } from '../syscall/memory.ts'
import type { BlockNode } from './block-node.ts'
import { openNode, type NodeOptions } from './driver-registry.ts'
import type { FileOptions } from './drivers/file/driver.ts'
import type { MemoryOptions } from './drivers/memory/driver.ts'
import type { RawOptions } from './drivers/raw/driver.ts'
import { PROBE_SIZE, probeFormat } from './probe.ts'

const FORMATS = ['raw']

export interface ImageOptions {
  /** A file, a block device, or `memory:SIZE`. */
  image: string
  /** `raw`; guessed when absent. */
  format?: string | undefined
  readOnly?: boolean | undefined
  /** Bytes. */
  offset?: number | undefined
  /** Bytes. */
  size?: number | undefined
}

/**
 * Opens an image as qemu-nbd's command line describes one.
 *
 * @context main
 * @throws NBDError of kind `config`
 */
export async function openImage({
  image,
  format,
  readOnly = false,
  offset,
  size
}: ImageOptions): Promise<BlockNode> {
  if (format !== undefined && !FORMATS.includes(format)) {
    throw configError(`unknown format '${format}'; known: ${FORMATS.join(', ')}`)
  }
  const memorySize = /^memory:(.*)$/.exec(image)?.[1]
  const protocol: FileOptions | MemoryOptions =
    memorySize === undefined
      ? { driver: 'file', filename: image }
      : { driver: 'memory', size: parseSize(memorySize, 'memory disk') }
  const probed = format === undefined && memorySize === undefined
  if (probed) await refuseOtherFormats(image)
  const options: RawOptions = { driver: 'raw', file: protocol, 'read-only': readOnly, probed }
  if (offset !== undefined) options.offset = offset
  if (size !== undefined) options.size = size
  return openNode(options)
}

/** An image that is not raw must not be served by its container's bytes unless that was asked for. */
async function refuseOtherFormats(filename: string): Promise<void> {
  const options: NodeOptions & FileOptions = { driver: 'file', filename, 'read-only': true, locking: 'off' }
  const file = await openNode(options)
  try {
    const size = Math.min(PROBE_SIZE, file.length)
    const head = Memory.allocate(PROBE_SIZE)
    await file.pread(head, 0, 0, size)
    const format = probeFormat(head.buffer.subarray(0, size))
    if (format !== 'raw') {
      throw configError(
        `'${filename}' is a ${format} image, which cannot be served yet; '--format raw' serves the bytes of the file itself`
      )
    }
  } finally {
    await file.close()
  }
}
