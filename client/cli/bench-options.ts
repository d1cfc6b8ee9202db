/** The options of `mqnbd bench`, with fio's names where fio has them, and what they mean. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { parseInteger } from '../../shared/config/integer.ts'
import { formatSize, parseSize } from '../../shared/config/size.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { LOAD_KINDS, writes, type LoadShape } from '../bench/load.ts'
import type { NBDDisk } from '../nbd-disk.ts'
import { maxPayload } from '../transmission/parts.ts'

const MAX_DEPTH = 1024
const MAX_CONNECTIONS = 256
const MAX_SECONDS = 7 * 24 * 3600
const MAX_SEED = 2 ** 32 - 1
const DEFAULT_RUNTIME_S = 10

// Numbers are taken as strings and checked here: yargs makes NaN of what is none.
export const benchOptions = {
  rw: {
    choices: LOAD_KINDS,
    requiresArg: true,
    default: 'randread',
    describe: 'What to send: in sequence or at random, reads, writes, or both'
  },
  'allow-write': {
    type: 'boolean',
    describe: 'Agree that what is on the export is overwritten; needed for every load with writes'
  },
  mix: {
    type: 'string',
    requiresArg: true,
    default: '70',
    describe: 'Percentage of reads, with --rw rw and randrw'
  },
  'block-size': {
    type: 'string',
    requiresArg: true,
    default: '4K',
    describe: 'Bytes of each request (suffixes K, M)'
  },
  depth: {
    type: 'string',
    requiresArg: true,
    default: '16',
    describe: 'Requests in flight on each connection'
  },
  connections: { type: 'string', requiresArg: true, default: '1', describe: 'Connections to the server' },
  runtime: {
    type: 'string',
    requiresArg: true,
    describe: `Seconds to measure for; ${DEFAULT_RUNTIME_S} if there is no --requests either`
  },
  requests: { type: 'string', requiresArg: true, describe: 'Reads and writes to measure' },
  warmup: {
    type: 'string',
    requiresArg: true,
    default: '0',
    describe: 'Seconds of the same load before, not counted'
  },
  offset: { type: 'string', requiresArg: true, default: '0', describe: 'First byte of the range to use' },
  size: { type: 'string', requiresArg: true, describe: 'Bytes of the range; up to the end if not given' },
  'flush-every': {
    type: 'string',
    requiresArg: true,
    default: '0',
    describe: 'Flush a connection after so many of its writes; 0 for never'
  },
  seed: {
    type: 'string',
    requiresArg: true,
    default: '1',
    describe: 'Where random offsets begin: the same requests for the same seed'
  },
  json: { type: 'boolean', describe: 'Print JSON' },
  svg: {
    type: 'string',
    requiresArg: true,
    describe: 'Draw throughput and latency over time into this file'
  }
} as const satisfies Record<string, Options>

export type BenchArguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof benchOptions> & { uri: string | undefined }
>

export const buildBench = (
  yargs: Argv
): Argv<InferredOptionTypes<typeof benchOptions> & { uri: string | undefined }> =>
  yargs
    .usage(
      'mqnbd bench URI [options]\n\nMeasures what an export of an NBD server can do. Ctrl-C ends it early.\n' +
        'Only reads, unless it is told otherwise.'
    )
    .positional('uri', { type: 'string', describe: 'NBD URI of the export' })
    .options(benchOptions)
    .check(({ uri }) => !!uri || 'bench: which URI?')
    .check(
      ({ rw, allowWrite }) =>
        !writes(rw) ||
        allowWrite === true ||
        `bench: --rw ${rw} overwrites what is on the export: add --allow-write if that is meant`
    )
    .example('mqnbd bench nbd://localhost', 'random reads of 4 KiB, 16 in flight, for 10 seconds')
    .example(
      'mqnbd bench nbd://localhost --rw write --allow-write --block-size 256K --flush-every 64',
      'overwrite the export from its start on'
    )

/** What does not depend on the export. */
export interface BenchPlan {
  depth: number
  connections: number
  runtimeMs: number | undefined
  requests: number | undefined
  warmupMs: number
  flushEvery: number
  svg: string | undefined
}

/** @throws NBDError of kind `config` */
export function benchPlan(args: BenchArguments): BenchPlan {
  const requests = optional(args.requests, (text) =>
    parseInteger(text, '--requests', 1, Number.MAX_SAFE_INTEGER)
  )
  const runtime = args.runtime ?? (requests === undefined ? String(DEFAULT_RUNTIME_S) : undefined)
  if (args.svg === '') throw configError('--svg: which file?')
  return {
    depth: parseInteger(args.depth, '--depth', 1, MAX_DEPTH),
    connections: parseInteger(args.connections, '--connections', 1, MAX_CONNECTIONS),
    runtimeMs: optional(runtime, (text) => parseSeconds(text, '--runtime', false)),
    requests,
    warmupMs: parseSeconds(args.warmup, '--warmup', true),
    flushEvery: parseInteger(args.flushEvery, '--flush-every', 0, Number.MAX_SAFE_INTEGER),
    svg: args.svg
  }
}

const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined =>
  text === undefined ? undefined : parse(text)

/** @returns milliseconds */
function parseSeconds(text: string, what: string, mayBeZero: boolean): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (seconds <= MAX_SECONDS && (seconds > 0 || mayBeZero)) return seconds * 1000
  const least = mayBeZero ? 'from 0' : 'above 0 and'
  throw configError(`${what}: '${text}' is not a number of seconds ${least} up to ${MAX_SECONDS}`)
}

/** Which requests are wanted, before it is known what the export allows. */
export interface BenchRange {
  kind: LoadShape['kind']
  mix: number
  seed: number
  blockSize: number
  offset: number
  /** Undefined for up to the end. */
  size: number | undefined
}

/** @throws NBDError of kind `config` */
export const benchRange = (args: BenchArguments): BenchRange => ({
  kind: args.rw,
  mix: parseInteger(args.mix, '--mix', 0, 100),
  seed: parseInteger(args.seed, '--seed', 0, MAX_SEED),
  blockSize: parseSize(args.blockSize, '--block-size'),
  offset: parseSize(args.offset, '--offset'),
  size: optional(args.size, (text) => parseSize(text, '--size'))
})

/**
 * The load, which must fit the export.
 *
 * @throws NBDError of kind `config`
 */
export function loadShape(
  range: BenchRange,
  disk: Pick<NBDDisk, 'size' | 'blockSizes' | 'readOnly'>
): LoadShape {
  const { kind, mix, seed, blockSize, offset, size } = range
  const { minimum } = disk.blockSizes
  const most = maxPayload(disk.blockSizes)
  if (writes(kind) && disk.readOnly) throw configError(`--rw ${kind}: the export is read-only`)
  if (blockSize < 1 || blockSize > most || blockSize % minimum !== 0) {
    throw configError(
      `--block-size: the server takes multiples of ${minimum} up to ${most} at once, and not ${blockSize}`
    )
  }
  if (offset % minimum !== 0) {
    throw configError(`--offset: ${offset} is not a multiple of the server's minimum block size, ${minimum}`)
  }
  const length = size ?? disk.size - offset
  if (offset > disk.size || length > disk.size - offset) {
    throw configError(`--offset and --size: the export ends at ${disk.size} (${formatSize(disk.size)})`)
  }
  if (length < blockSize) {
    throw configError(`--size: not one block of ${blockSize} fits into a range of ${length} bytes`)
  }
  return { kind, mix, seed, blockSize, offset, length }
}
