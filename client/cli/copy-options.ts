/** The options of `mqnbd copy`, with nbdcopy's names and letters, and what they mean. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { parseInteger } from '../../shared/config/integer.ts'
import { parseSize } from '../../shared/config/size.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import {
  DEFAULT_CONNECTIONS,
  DEFAULT_REQUESTS,
  MAX_CONNECTIONS,
  MAX_QUEUE_SIZE,
  MAX_RECONNECT_DELAY,
  MAX_REQUESTS,
  MAX_REQUEST_SIZE,
  MAX_SPARSE_SIZE,
  MIN_REQUEST_SIZE,
  MIN_SPARSE_SIZE
} from '../copy/limits.ts'
import type { ServerOptions } from '../copy/nbd-endpoint.ts'
import { progressFd, progressOptions } from './progress-options.ts'

// Numbers are taken as strings and checked here: yargs makes NaN of what is none.
export const copyOptions = {
  allocated: { type: 'boolean', describe: 'Leave no holes in DESTINATION' },
  connections: {
    alias: 'C',
    type: 'string',
    requiresArg: true,
    default: String(DEFAULT_CONNECTIONS),
    describe: 'Connections to a server that allows several'
  },
  'destination-is-zero': {
    alias: 'target-is-zero',
    type: 'boolean',
    describe: 'DESTINATION reads as zeroes: write only what is not zero'
  },
  flush: { type: 'boolean', describe: 'At the end, bring everything to stable storage' },
  extents: {
    type: 'boolean',
    default: true,
    describe: 'Do not read the holes of SOURCE; --no-extents reads everything'
  },
  ...progressOptions,
  'queue-size': {
    type: 'string',
    requiresArg: true,
    default: '16M',
    describe: 'Bytes in flight on each connection'
  },
  'reconnect-delay': {
    type: 'string',
    requiresArg: true,
    default: '0',
    describe: 'Seconds to wait for a server that has gone to be there again; then the copy goes on'
  },
  'request-size': {
    type: 'string',
    requiresArg: true,
    default: '2M',
    describe: 'Bytes of one request, a power of 2'
  },
  requests: {
    alias: 'R',
    type: 'string',
    requiresArg: true,
    default: String(DEFAULT_REQUESTS),
    describe: 'Requests in flight on each connection'
  },
  sparse: {
    alias: 'S',
    type: 'string',
    requiresArg: true,
    default: '4K',
    describe: 'Make holes of zeroes in blocks of this size, a power of 2; 0 for no search'
  },
  synchronous: { type: 'boolean', describe: 'One request at a time, in order' }
} as const satisfies Record<string, Options>

type Positionals = { source: string | undefined; destination: string | undefined }
export type CopyArguments = ArgumentsCamelCase<InferredOptionTypes<typeof copyOptions> & Positionals>

export const buildCopy = (yargs: Argv): Argv<InferredOptionTypes<typeof copyOptions> & Positionals> =>
  yargs
    .usage('mqnbd copy SOURCE DESTINATION [options]\n\nCopies from and to NBD servers.')
    .positional('source', {
      type: 'string',
      describe: 'NBD URI, ws:// URL, file, block device, - (standard input), or [ CMD ARGS ]: a server to run'
    })
    .positional('destination', { type: 'string', describe: 'the same, - (standard output), or null:' })
    // '-' is one, too.
    .nargs({ source: 1, destination: 1 })
    .options(copyOptions)
    .check(({ source, destination }) => (!!source && !!destination) || 'copy: which SOURCE and DESTINATION?')
    .example('mqnbd copy -p nbd://localhost disk.img', 'fetch an export')
    .example('mqnbd copy --flush disk.img nbd://localhost', 'and write it back')
    .example('mqnbd copy nbd://localhost - | gzip > disk.gz', 'through a pipe')
    .example('mqnbd copy -- [ nbdkit curl URL ] disk.img', 'from a server that is run for this')

/** What the options say, checked. */
export interface CopySettings {
  source: string
  destination: string
  server: ServerOptions
  /** On each connection. */
  requests: number
  requestSize: number
  /** On each connection. */
  queueSize: number
  sparse: number
  /** Where numbers go; `people` for a bar. */
  progress: number | 'people' | undefined
}

/** @throws NBDError of kind `config` */
export function copySettings(args: CopyArguments): CopySettings {
  const { synchronous } = args
  return {
    // The check of `buildCopy` has seen that they are there.
    source: args.source!,
    destination: args.destination!,
    server: {
      connections: synchronous ? 1 : parseInteger(args.connections, '--connections', 1, MAX_CONNECTIONS),
      reconnectDelayMs: reconnectDelayMs(args['reconnect-delay'])
    },
    requests: synchronous ? 1 : parseInteger(args.requests, '--requests', 1, MAX_REQUESTS),
    requestSize: powerOfTwo(args.requestSize, '--request-size', MIN_REQUEST_SIZE, MAX_REQUEST_SIZE),
    queueSize: atMost(parseSize(args.queueSize, '--queue-size'), '--queue-size', MAX_QUEUE_SIZE),
    sparse:
      parseSize(args.sparse, '--sparse') === 0
        ? 0
        : powerOfTwo(args.sparse, '--sparse', MIN_SPARSE_SIZE, MAX_SPARSE_SIZE),
    progress: progressFd(args)
  }
}

function reconnectDelayMs(text: string): number | undefined {
  const seconds = parseInteger(text, '--reconnect-delay', 0, MAX_RECONNECT_DELAY)
  return seconds === 0 ? undefined : seconds * 1000
}

function powerOfTwo(text: string, what: string, min: number, max: number): number {
  const size = parseSize(text, what)
  if (size >= min && size <= max && Number.isInteger(Math.log2(size))) return size
  throw configError(`${what}: '${text}' is not a power of 2 from ${min} to ${max}`)
}

function atMost(size: number, what: string, max: number): number {
  if (size > max) throw configError(`${what}: ${size} is more than ${max}`)
  return size
}
