/** From what a user names to an open node. */
import { configError } from '../errors/nbd-error.ts'
import type { BlockNode } from './block-node.ts'
import { driverOfFilename, openNode, type BlockDriver, type NodeOptions } from './driver-registry.ts'
import type { FileOptions } from './drivers/file/driver.ts'
import type { RawOptions } from './drivers/raw/driver.ts'
import { unmapPolicy, type UnmapOptions } from './drivers/unmap-policy/driver.ts'
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
  /** Flushes do nothing. */
  noFlush?: boolean | undefined
  /** Who does what has to be waited for; of files and block devices. */
  aio?: FileOptions['aio'] | undefined
  /** Whether discards do anything; `unmap` if not given. */
  discard?: UnmapOptions['discard']
  /** Whether writes are looked at for zeroes; `off` if not given. */
  detectZeroes?: UnmapOptions['detect-zeroes']
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
  noFlush = false,
  aio,
  discard,
  detectZeroes
}: ImageOptions): Promise<BlockNode> {
  if (format !== undefined && !FORMATS.includes(format)) {
    throw configError(`unknown format '${format}'; known: ${FORMATS.join(', ')}`)
  }
  // Before anything is opened.
  const policy = unmapPolicy({ discard, 'detect-zeroes': detectZeroes })
  const driver = driverOfFilename(image)
  const alien = driver && alienTo(driver, { direct, noFlush, aio })
  if (alien) throw configError(`${alien} is for files and block devices, not '${image}'`)
  const filenames = driver?.filenames
  const fileOptions: FileOptions = { driver: 'file', filename: image, cache: { direct } }
  if (aio) fileOptions.aio = aio
  const options: CachedOptions = { ...(filenames?.parse(image) ?? fileOptions), 'read-only': readOnly }
  if (noFlush) options.cache = { ...options.cache, 'no-flush': true }
  const file = await openNode(options)
  const probed = format === undefined && filenames?.areNew !== true
  if (probed) await refuseOtherFormats(image, file)
  const raw: RawOptions = { driver: 'raw', file, ownsFile: true, 'read-only': readOnly, probed, ...policy }
  if (offset !== undefined) raw.offset = offset
  if (size !== undefined) raw.size = size
  return openNode(raw)
}

/** Of a driver that may have something to flush. */
type CachedOptions = NodeOptions & Pick<FileOptions, 'cache'>

/** @returns what was asked for that the driver of an image's name does not know */
function alienTo(
  { options }: BlockDriver,
  { direct, noFlush, aio }: Pick<ImageOptions, 'direct' | 'noFlush' | 'aio'>
): string | undefined {
  if (direct) return 'O_DIRECT (--cache none, directsync)'
  if (noFlush && options?.['cache'] === undefined) return '--cache unsafe'
  return aio && `--aio ${aio}`
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
