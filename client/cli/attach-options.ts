/** The options of `mqnbd attach` and `mqnbd detach`, with nbd-client's names, and what they mean. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { parseInteger } from '../../shared/config/integer.ts'
import { parseSize } from '../../shared/config/size.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { NBD_FLAG_CAN_MULTI_CONN, NBD_FLAG_READ_ONLY } from '../../shared/protocol/constants.ts'
import type { DeviceSettings } from '../attach/nbd-netlink.ts'
import type { Negotiated } from '../negotiation/negotiated.ts'

const MAX_CONNECTIONS = 64
const MAX_TIMEOUT_S = 24 * 3600
/** The kernel's minor numbers have 20 bits. */
const MAX_INDEX = 2 ** 20 - 1
/** Of a sector, and of a page. @see blk_validate_block_size */
const MIN_BLOCK_SIZE = 512
const MAX_BLOCK_SIZE = 4096
/** With --persist: how long the kernel waits for a connection to be replaced. */
const PERSIST_S = 7 * 24 * 3600

export const attachOptions = {
  connections: {
    alias: 'C',
    type: 'string',
    requiresArg: true,
    default: '1',
    describe: 'Connections to the server'
  },
  timeout: {
    alias: 't',
    type: 'string',
    requiresArg: true,
    default: '0',
    describe: "Seconds that a request may take; 0 for the kernel's own limit"
  },
  'block-size': {
    alias: 'b',
    type: 'string',
    requiresArg: true,
    describe: 'Of the device: 512, 1K, 2K or 4K; the smallest that the server takes if not given'
  },
  'read-only': { alias: 'R', type: 'boolean', describe: 'Let nobody write to the device' },
  persist: {
    alias: 'p',
    type: 'boolean',
    describe: 'Stay, and reconnect when a connection is lost, until the device is detached'
  }
} as const satisfies Record<string, Options>

type Declared = InferredOptionTypes<typeof attachOptions> & {
  device: string | undefined
  uri: string | undefined
}
export type AttachArguments = ArgumentsCamelCase<Declared>
export type DetachArguments = ArgumentsCamelCase<{ device: string | undefined }>

export const buildAttach = (yargs: Argv): Argv<Declared> =>
  yargs
    .usage(
      'mqnbd attach DEVICE URI [options]\n\nMakes an export of an NBD server a block device of this machine.\n' +
        'Needs root, and the kernel module nbd.'
    )
    .positional('device', { type: 'string', describe: 'Such as /dev/nbd0' })
    .positional('uri', { type: 'string', describe: 'NBD URI of the export' })
    .options(attachOptions)
    .check(({ device, uri }) => (!!device && !!uri) || 'attach: which DEVICE and which URI?')
    .example('mqnbd attach /dev/nbd0 nbd://localhost --connections 4', 'then: mount /dev/nbd0 /mnt')

export const buildDetach = (yargs: Argv): Argv<{ device: string | undefined }> =>
  yargs
    .usage('mqnbd detach DEVICE\n\nEnds what `mqnbd attach`, or another NBD client, has begun.')
    .positional('device', { type: 'string', describe: 'Such as /dev/nbd0' })
    .check(({ device }) => !!device || 'detach: which DEVICE?')

/** Of `/dev/nbd3` or `nbd3`. @throws NBDError of kind `config` */
export function deviceIndex(device: string): number {
  const number = /^(?:\/dev\/)?nbd(0|[1-9]\d*)$/.exec(device)?.[1]
  if (number !== undefined && Number(number) <= MAX_INDEX) return Number(number)
  throw configError(`'${device}' is not an NBD device, such as /dev/nbd0`)
}

export interface AttachPlan {
  connections: number
  timeout: number
  /** Undefined for what suits the server. */
  blockSize: number | undefined
  readOnly: boolean
  persist: boolean
}

/** @throws NBDError of kind `config` */
export function attachPlan(args: AttachArguments): AttachPlan {
  const blockSize = args.blockSize === undefined ? undefined : parseSize(args.blockSize, '--block-size')
  if (blockSize !== undefined && !isBlockSize(blockSize)) {
    throw configError(`--block-size: '${args.blockSize}' is not 512, 1K, 2K or 4K`)
  }
  return {
    connections: parseInteger(args.connections, '--connections', 1, MAX_CONNECTIONS),
    timeout: parseInteger(args.timeout, '--timeout', 0, MAX_TIMEOUT_S),
    blockSize,
    readOnly: args.readOnly ?? false,
    persist: args.persist ?? false
  }
}

const isBlockSize = (size: number): boolean =>
  size >= MIN_BLOCK_SIZE && size <= MAX_BLOCK_SIZE && Number.isInteger(Math.log2(size))

/**
 * What the kernel is told of an export.
 *
 * @throws NBDError of kind `config` when it cannot use the export so
 */
export function deviceSettings(
  { connections, timeout, blockSize, readOnly, persist }: AttachPlan,
  { size, flags, blockSizes }: Pick<Negotiated, 'size' | 'flags' | 'blockSizes'>
): Omit<DeviceSettings, 'sockets'> {
  const block = blockSize ?? Math.max(MIN_BLOCK_SIZE, blockSizes.minimum)
  if (!Number.isSafeInteger(size)) throw configError('the export is larger than 2^53 - 1 bytes')
  if (block > MAX_BLOCK_SIZE || block % blockSizes.minimum !== 0) {
    const most = `the kernel's are up to ${MAX_BLOCK_SIZE}`
    throw configError(`--block-size: the server takes only multiples of ${blockSizes.minimum}; ${most}`)
  }
  if (size === 0 || size % block !== 0) {
    throw configError(`the size of the export, ${size}, is not some blocks of ${block} bytes`)
  }
  if (connections > 1 && (flags & NBD_FLAG_CAN_MULTI_CONN) === 0) {
    throw configError('--connections: the server does not promise that several work together (multi-conn)')
  }
  return {
    size,
    blockSize: block,
    serverFlags: readOnly ? flags | NBD_FLAG_READ_ONLY : flags,
    clientFlags: 0,
    timeout,
    deadConnTimeout: persist ? PERSIST_S : 0
  }
}
