/** `mqnbd map`: prints where an export or a file has data, as `nbdinfo --map` does. */
import { configError } from '../../shared/errors/nbd-error.ts'
import { connect } from '../index.ts'
import { BASE_ALLOCATION, checkedContexts } from '../negotiation/opt-meta-context.ts'
import { mapOfDisk, mapOfFile, type DiskMap } from './map-extents.ts'
import type { MapArguments } from './map-options.ts'
import { mapReport } from './map-report.ts'
import { print } from './print.ts'

const NBD_URI = /^nbds?(\+[a-z]+)?:\/\//i

/**
 * @returns the exit status
 * @throws NBDError when there is no map to be had
 */
export async function map(args: MapArguments): Promise<number> {
  const { json, totals } = args
  await print(mapReport(await mapOf(args), { json, totals }))
  return 0
}

async function mapOf({ target, context, format }: MapArguments): Promise<DiskMap> {
  // The check of `buildMap` has seen that it is there.
  const name = target!
  const contexts = checkedContexts(context.split(','))
  if (!NBD_URI.test(name)) {
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
