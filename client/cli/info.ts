/** `mqnbd info`: prints what a server tells about an export, as nbdinfo does. */
import { formatUri, parseUri } from '../../shared/protocol/uri.ts'
import { connect, type NBDDisk } from '../index.ts'
import { BASE_ALLOCATION } from '../negotiation/opt-meta-context.ts'
import { printable } from '../../shared/config/printable.ts'
import type { InfoArguments } from './info-options.ts'

/**
 * @returns the exit status
 * @throws NBDError when the server cannot be asked
 */
export async function info(args: InfoArguments): Promise<number> {
  // The check of `buildInfo` has seen that it is there.
  const uri = args.uri!
  const disk = await connect(uri)
  await disk.close()
  process.stdout.write(args.size ? `${disk.size}\n` : report(disk, uri))
  return 0
}

function report(disk: NBDDisk, uri: string): string {
  const { flags, blockSizes } = disk
  const packets = disk.structured ? 'structured' : 'simple'
  const lines = [
    ...(disk.description === '' ? [] : [`description: ${printable(disk.description)}`]),
    `export-size: ${disk.size}${humanSize(disk.size)}`,
    `uri: ${formatUri(parseUri(uri))}`,
    ...(flags.canBlockStatus ? ['contexts:', `\t${BASE_ALLOCATION}`] : []),
    `is_rotational: ${flags.rotational}`,
    `is_read_only: ${flags.readOnly}`,
    `can_cache: ${flags.canCache}`,
    `can_df: ${flags.canDf}`,
    `can_fast_zero: ${flags.canFastZero}`,
    `can_flush: ${flags.canFlush}`,
    `can_fua: ${flags.canFua}`,
    `can_multi_conn: ${flags.canMultiConn}`,
    `can_trim: ${flags.canTrim}`,
    `can_zero: ${flags.canZero}`,
    ...(disk.blockSizesAdvertised
      ? [
          `block_size_minimum: ${blockSizes.minimum}`,
          `block_size_preferred: ${blockSizes.preferred}`,
          `block_size_maximum: ${blockSizes.maximum}`
        ]
      : [])
  ]
  const head = [
    `protocol: ${disk.handshake} ${disk.tls ? 'with' : 'without'} TLS, using ${packets} packets`,
    `export="${printable(disk.exportName)}":`
  ]
  return [...head, ...lines.map((line) => `\t${line}`)].map((line) => `${line}\n`).join('')
}

/** ` (1M)`, where the size is a whole number of such units, as nbdinfo has it. */
function humanSize(size: number): string {
  let power = 0
  let value = size
  while (value >= 1024 && value % 1024 === 0 && power < 'KMGTPE'.length) {
    value /= 1024
    power++
  }
  return power === 0 ? '' : ` (${value}${'KMGTPE'[power - 1]})`
}
