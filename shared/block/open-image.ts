/** From what a user names to an open node. */
import { configError } from '../errors/nbd-error.ts'
import type { BlockNode } from './block-node.ts'
import { driverOfFilename, openNode } from './driver-registry.ts'
import type { FileOptions } from './drivers/file/driver.ts'
import type { RawOptions } from './drivers/raw/driver.ts'
import { probeFormat } from './probe.ts'
import { readHead } from './read-head.ts'

const FORMATS = ['raw']

export interface ImageOptions {
  /** A file, a block device, `memory:SIZE`, or what another driver knows such names for. */
  image: string
  /** `raw`; guessed when absent. */
  format?: string | undefined
  readOnly?: boolean | undefined
  /** Bytes. */
  offset?: number | undefined
  /** Bytes. */
  size?: number | undefined
  /** Around the page cache. */
  direct?: boolean | undefined
  /** Who does what has to be waited for; of files and block devices. */
  aio?: FileOptions['aio'] | undefined
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
  size,
  direct = false,
  aio
}: ImageOptions): Promise<BlockNode> {
  if (format !== undefined && !FORMATS.includes(format)) {
    throw configError(`unknown format '${format}'; known: ${FORMATS.join(', ')}`)
  }
  const filenames = driverOfFilename(image)?.filenames
  if (filenames && (direct || aio)) {
    const option = direct ? '--cache none' : `--aio ${aio}`
    throw configError(`${option} is for files and block devices, not '${image}'`)
  }
  const fileOptions: FileOptions = { driver: 'file', filename: image, cache: { direct } }
  if (aio) fileOptions.aio = aio
  const file = await openNode({ ...(filenames?.parse(image) ?? fileOptions), 'read-only': readOnly })
  const probed = format === undefined && filenames?.areNew !== true
  if (probed) await refuseOtherFormats(image, file)
  const options: RawOptions = { driver: 'raw', file, ownsFile: true, 'read-only': readOnly, probed }
  if (offset !== undefined) options.offset = offset
  if (size !== undefined) options.size = size
  return openNode(options)
}

/**
 * An image that is not raw must not be served by its container's bytes unless that was asked for.
 *
 * @throws NBDError; then the node is closed
 */
async function refuseOtherFormats(image: string, file: BlockNode): Promise<void> {
  try {
    const format = probeFormat(await readHead(file))
    if (format === 'raw') return
    throw configError(
      `'${image}' is a ${format} image, which cannot be served yet; '--format raw' serves the bytes of the file itself`
    )
  } catch (error) {
    await file.close()
    throw error
  }
}
