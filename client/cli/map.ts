/** `mqnbd map`: prints where an export or a file has data, as `nbdinfo --map` does. */
import { printable } from '../../shared/config/printable.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { isNbdUri } from '../../shared/protocol/uri.ts'
import { connect } from '../connect.ts'
import { BASE_ALLOCATION } from '../../shared/protocol/constants.ts'
import { checkedContexts } from '../negotiation/opt-meta-context.ts'
import { allocationSvg } from '../svg/allocation-svg.ts'
import { mapOfDisk, mapOfFile, type DiskMap } from './map-extents.ts'
import type { MapArguments } from './map-options.ts'
import { mapReport } from './map-report.ts'
import { print } from './print.ts'
import { writePicture } from './write-picture.ts'

/**
 * @returns the exit status
 * @throws NBDError when there is no map to be had
 */
export async function map(args: MapArguments): Promise<number> {
  const { json, totals, svg, target } = args
  const map = await mapOf(args)
  if (svg === undefined) await print(mapReport(map, { json, totals }))
  else writePicture(svg, picture(map, printable(target!)))
  return 0
}

function picture({ size, contexts, extents }: DiskMap, title: string): string {
  const context = contexts.indexOf(BASE_ALLOCATION)
  if (context === -1) throw configError(`--svg draws ${BASE_ALLOCATION}, which --context leaves out`)
  const allocation = extents.map(({ offset, length, types }) => ({ offset, length, flags: types[context]! }))
  return allocationSvg(size, allocation, title)
}

async function mapOf({ target, context, format }: MapArguments): Promise<DiskMap> {
  // The check of `buildMap` has seen that it is there.
  const name = target!
  const contexts = checkedContexts(context.split(','))
  if (!isNbdUri(name)) {
    if (contexts.some((context) => context !== BASE_ALLOCATION))
      throw configError(`'${name}' is a file, which has no metadata context but ${BASE_ALLOCATION}`)
    return mapOfFile(name, format)
  }
  if (format !== undefined) throw configError(`'${name}' is an export, whose format is the server's affair`)
  const disk = await connect(name, { metaContexts: contexts })
  try {
    return await mapOfDisk(disk, contexts)
  } finally {
    await disk.close()
  }
}
