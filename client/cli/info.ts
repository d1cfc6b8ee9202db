/** `mqnbd info`: prints what a server tells about an export, as nbdinfo does. */
import { NBD_MODE_EXTENDED, NBD_PACKETS } from '../../shared/protocol/nbd-mode.ts'
import { formatUri, parseUri } from '../../shared/protocol/uri.ts'
import { connect } from '../connect.ts'
import type { NBDDisk } from '../nbd-disk.ts'
import { targetOf } from '../connection/target.ts'
import { listExports } from '../connection/listing.ts'
import { exportListing } from '../export-listing.ts'
import { NBD_HANDSHAKE_TIMEOUT_MS } from '../negotiation/limits.ts'
import { printable } from '../../shared/config/printable.ts'
import { contentOf } from './content.ts'
import { answer } from './info-can.ts'
import type { InfoArguments } from './info-options.ts'
import { reportJson, reportText, type ReportedExport, type ReportedServer } from './info-report.ts'
import { mapOfDisk } from './map-extents.ts'
import { mapReport } from './map-report.ts'
import { print } from './print.ts'

const IS_FALSE = 2

/**
 * @returns the exit status; 2 when what was asked for is not so
 * @throws NBDError when the server cannot be asked
 */
export async function info(args: InfoArguments): Promise<number> {
  // The check of `buildInfo` has seen that it is there.
  const uri = args.target!
  const positive = args.is ?? args.can ?? args.has
  const negative = args.isnt ?? args.cannot ?? args.hasnt
  const feature = positive ?? negative
  if (feature !== undefined) {
    const is = await withDisk(connect(uri), async (disk) => answer(disk, feature))
    return is === (positive !== undefined) ? 0 : IS_FALSE
  }
  await print(await output(uri, args))
  return 0
}

async function output(uri: string, args: InfoArguments): Promise<string> {
  if (args.size) return withDisk(connect(uri), async ({ size }) => `${size}\n`)
  if (args.uri) return withDisk(connect(uri), async () => `${fullUri(uri)}\n`)
  if (args.map !== undefined) {
    const contexts = [args.map]
    return withDisk(connect(uri, { metaContexts: contexts }), async (disk) =>
      mapReport(await mapOfDisk(disk, contexts), { json: args.json, totals: args.totals })
    )
  }
  const server = args.list
    ? await listed(uri, args.content === true)
    : await asked(uri, args.content !== false)
  return args.json ? reportJson(server) : reportText(server)
}

async function withDisk<T>(connecting: Promise<NBDDisk>, use: (disk: NBDDisk) => Promise<T>): Promise<T> {
  const disk = await connecting
  try {
    return await use(disk)
  } finally {
    await disk.close()
  }
}

const fullUri = (uri: string): string => formatUri(parseUri(uri))

/** All about one export, on one connection: there may be servers that end with their first client. */
async function asked(uri: string, content: boolean): Promise<ReportedServer> {
  return withDisk(connect(uri, { listContexts: true }), async (disk) => {
    const { exportName: name, description, size, flags, blockSizes, blockSizesAdvertised } = disk
    const { handshake, tls, packets, offeredContexts: contexts } = disk
    const found = content ? await contentOf(disk) : undefined
    const facts = { description, size, flags, blockSizes, blockSizesAdvertised, contexts }
    return { handshake, tls, packets, exports: [{ name, ...facts, uri: fullUri(uri), content: found }] }
  })
}

/** All about all exports; those that the server refuses are named on standard error. */
async function listed(uri: string, content: boolean): Promise<ReportedServer> {
  const target = targetOf(uri, undefined)
  const { terms, exports } = await listExports(target, NBD_HANDSHAKE_TIMEOUT_MS, {
    mode: NBD_MODE_EXTENDED
  })
  const reported: ReportedExport[] = []
  for (const { name, description, details, refusal } of exports.map(exportListing)) {
    const one = formatUri({ ...parseUri(uri), exportName: name })
    if (details) {
      const { exportName, metaContexts } = details
      const found = content ? await withDisk(connect(one), contentOf) : undefined
      reported.push({
        ...details,
        name: exportName,
        description,
        uri: one,
        content: found,
        contexts: metaContexts
      })
    } else {
      const why = refusal?.message ?? 'the server tells nothing about it'
      process.stderr.write(`mqnbd: export '${printable(name)}': ${printable(why)}\n`)
    }
  }
  const { handshake, mode } = terms
  return { handshake, packets: NBD_PACKETS[mode], tls: target.tls !== undefined, exports: reported }
}
