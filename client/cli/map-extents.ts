/** Where a disk or a file has data: the extents that `mqnbd map` prints. */
import { openImage } from '../../shared/block/index.ts'
import { printable } from '../../shared/config/printable.ts'
import { NBDError } from '../../shared/errors/nbd-error.ts'
import type { NBDDisk } from '../index.ts'
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'

/** A stretch with the same status in all contexts. */
export interface MapExtent {
  offset: number
  length: number
  /** One for each context. */
  types: number[]
}

export interface DiskMap {
  /** Bytes. */
  size: number
  contexts: readonly string[]
  /** In order, without a gap; neighbours differ. */
  extents: MapExtent[]
}

/** Extents of a file that one call looks for. */
const MOST = 4096

/** @throws NBDError of kind `request` when the server does not have one of the contexts */
export async function mapOfDisk(disk: NBDDisk, contexts: readonly string[]): Promise<DiskMap> {
  for (const context of contexts) {
    if (disk.metaContexts.includes(context)) continue
    throw new NBDError(
      'request',
      `the server has no metadata context '${printable(context)}' for this export`
    )
  }
  const extents: MapExtent[] = []
  for await (const { offset, length, flags } of disk.blockStatusAll())
    extents.push({ offset, length, types: contexts.map((context) => flags[context]!) })
  return { size: disk.size, contexts, extents }
}

/** @throws NBDError of kind `config` when it cannot be opened, `request` when it cannot be looked at */
export async function mapOfFile(filename: string, format: string | undefined): Promise<DiskMap> {
  const node = await openImage({ image: filename, format, readOnly: true })
  try {
    const extents: MapExtent[] = []
    let last: MapExtent | undefined
    for (let offset = 0; offset < node.length;) {
      for (const { length, flags } of await node.blockStatus(offset, node.length - offset, MOST)) {
        if (last?.types[0] === flags) last.length += length
        else extents.push((last = { offset, length, types: [flags] }))
        offset += length
      }
    }
    return { size: node.length, contexts: [BASE_ALLOCATION], extents }
  } finally {
    await node.close()
  }
}
