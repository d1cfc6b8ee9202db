/** The options of `mqnbd serve`, with qemu-nbd's names and letters, and what they mean. */
import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs'
import { parseInteger } from '../../shared/config/integer.ts'
import { parseOptionText, type OptionObject } from '../../shared/config/key-value.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { parseSize } from '../../shared/config/size.ts'
import { loadServerCreds, type TLSCreds } from '../../shared/io/tls-creds.ts'
import { loadServerPsk } from '../../shared/io/tls-psk.ts'
import {
  TLS_CREDS_TYPES,
  TLSServerCreds,
  type ObjectTable,
  type UserObject
} from '../../shared/object/index.ts'
import { LOG_LEVELS } from '../../shared/log/log.ts'
import { NBD_MAX_BUFFER_SIZE } from '../../shared/protocol/limits.ts'
import { MAX_TCP_PORT, MAX_VSOCK_PORT, NBD_DEFAULT_PORT } from '../../shared/protocol/uri.ts'
import { VMADDR_CID_ANY } from '../../shared/syscall/vsock.ts'
import {
  DETECT_ZEROES_MODES,
  DISCARD_MODES,
  discardMode
} from '../../shared/block/drivers/unmap-policy/driver.ts'
import type { ImageOptions } from '../../shared/block/open-image.ts'
import { GRAPH_OPTIONS, graphSteps } from './graph-steps.ts'
import { activatedSockets } from '../listener/activation.ts'
import type { ListenAddress } from '../listener/nbd-listener.ts'
import type { TLSPolicy } from '../negotiation/tls-policy.ts'
import type { ExportOptions, NBDServerOptions } from '../nbd-server.ts'

const MAX_CONNECTIONS = 65536
const MAX_IOTHREADS = 64
/** A day. */
const MAX_HANDSHAKE_S = 24 * 60 * 60
const MAX_IN_FLIGHT = 1024 * 1024 * 1024

/** Without TLS whoever can connect can read and write. */
const DEFAULT_HOST = 'localhost'

/** qemu-nbd's words. */
const CACHE_MODES = ['none', 'writeback', 'writethrough', 'directsync', 'unsafe'] as const

/** What they stand for. @see bdrv_parse_cache_mode */
const CACHE: Record<(typeof CACHE_MODES)[number], CacheMode> = {
  none: { direct: true },
  writeback: {},
  writethrough: { writethrough: true },
  directsync: { direct: true, writethrough: true },
  unsafe: { noFlush: true }
}

type CacheMode = Pick<ImageOptions, 'direct' | 'noFlush'> & Pick<ExportOptions, 'writethrough'>
const AIO = ['threads', 'io_uring'] as const

/** nbdkit's words. */
const TLS_MODES = ['off', 'on', 'require'] as const

// Numbers are taken as strings and checked here: yargs makes NaN of what is none.
export const serveOptions = {
  format: {
    alias: 'f',
    type: 'string',
    requiresArg: true,
    describe: "Format of IMAGE: 'raw'; guessed if not given"
  },
  'read-only': { alias: 'r', type: 'boolean', describe: 'Refuse every write' },
  'image-opts': {
    type: 'boolean',
    describe:
      'IMAGE is no file, but options of a node: driver=raw,size=1M,file.driver=file,file.filename=FILE'
  },
  'export-name': {
    alias: 'x',
    type: 'string',
    requiresArg: true,
    default: '',
    describe: 'Name of the export'
  },
  description: {
    alias: 'D',
    type: 'string',
    requiresArg: true,
    default: '',
    describe: 'Text that clients can list'
  },
  bind: {
    alias: 'b',
    type: 'string',
    requiresArg: true,
    defaultDescription: DEFAULT_HOST,
    describe: 'Address to listen on; 0.0.0.0 for all'
  },
  port: {
    alias: 'p',
    type: 'string',
    requiresArg: true,
    defaultDescription: String(NBD_DEFAULT_PORT),
    describe: 'Port of TCP, or of vsock; 0 for any free one'
  },
  socket: {
    alias: 'k',
    type: 'string',
    requiresArg: true,
    describe: 'Listen on this Unix socket, not on TCP'
  },
  vsock: { type: 'boolean', describe: 'Listen on vsock (virtual machines, and their host), not on TCP' },
  shared: {
    alias: 'e',
    type: 'string',
    requiresArg: true,
    default: '0',
    describe: 'Clients at a time; 0 for any number'
  },
  offset: {
    alias: 'o',
    type: 'string',
    requiresArg: true,
    describe: 'Serve IMAGE from this byte on (suffixes K, M, G, T)'
  },
  size: { type: 'string', requiresArg: true, describe: 'Serve this many bytes' },
  cache: {
    choices: CACHE_MODES,
    requiresArg: true,
    describe:
      'none: around the page cache; writethrough: each write is answered when it is on the disk; directsync: both; unsafe: flushes do nothing; writeback, if not given: none of these'
  },
  nocache: { alias: 'n', type: 'boolean', describe: 'The same as --cache none' },
  aio: {
    choices: AIO,
    requiresArg: true,
    describe:
      'Who reads and writes IMAGE where that has to be waited for (io_uring for what it does well, if not given)'
  },
  discard: {
    choices: [...DISCARD_MODES, 'off', 'on'] as const,
    requiresArg: true,
    describe:
      'ignore, off: TRIM does nothing, and zeroes are no holes; unmap, on, if not given: they are passed on'
  },
  'detect-zeroes': {
    choices: DETECT_ZEROES_MODES,
    requiresArg: true,
    describe: 'on: writing zeroes is asking for zeroes; unmap: for a hole; off, if not given'
  },
  'tls-creds': {
    type: 'string',
    requiresArg: true,
    describe: 'Folder with server-cert.pem, server-key.pem, ca-cert.pem; or the id of an object'
  },
  'tls-psk': {
    type: 'string',
    requiresArg: true,
    describe: 'File with USER:KEY in each line, in place of certificates'
  },
  tls: {
    choices: TLS_MODES,
    requiresArg: true,
    describe: 'Whether clients may or must use TLS; require if there is --tls-creds or --tls-psk'
  },
  'tls-verify-peer': {
    type: 'boolean',
    defaultDescription: 'true',
    describe: 'Only serve clients whose certificate ca-cert.pem has signed'
  },
  persistent: { alias: 't', type: 'boolean', describe: 'Go on when the last client has gone' },
  fork: { type: 'boolean', describe: 'Go on in the background when ready; the command ends then' },
  iothreads: {
    type: 'string',
    requiresArg: true,
    describe: 'Threads that serve; one per processor, up to 4, if not given'
  },
  object: {
    type: 'string',
    requiresArg: true,
    describe:
      'Make an object: iothread,id=ID[,poll-max-ns=N...], or tls-creds-x509,id=ID,dir=FOLDER[,endpoint=server...]'
  },
  blockdev: {
    type: 'string',
    requiresArg: true,
    describe: 'Open a node, instead of IMAGE: driver=file,node-name=NAME,filename=FILE'
  },
  export: {
    type: 'string',
    requiresArg: true,
    describe: 'Serve a node: nbd,id=ID,node-name=NAME[,name=...,writable=on,iothread=ID]'
  },
  'handshake-limit': {
    type: 'string',
    requiresArg: true,
    describe: 'Seconds that a client has to choose an export; 0 for any time; 10 if not given'
  },
  'max-in-flight': {
    type: 'string',
    requiresArg: true,
    describe: 'Payload that one client may have in flight: 32M to 1G; 64M if not given'
  },
  'log-level': {
    choices: LOG_LEVELS,
    requiresArg: true,
    defaultDescription: 'warn',
    describe: 'What to log on standard error'
  },
  verbose: { alias: 'v', type: 'boolean', describe: 'The same as --log-level debug' },
  'pid-file': { type: 'string', requiresArg: true, describe: 'Write the process id to this file when ready' }
} as const satisfies Record<string, Options>

/** Options that mean IMAGE, each with what says the same of a node or an export. */
const ofImage: Record<string, string> = {
  format: 'the driver is the format',
  'read-only': 'say read-only=on there',
  'export-name': 'say name=... in --export',
  description: 'say description=... in --export',
  offset: 'use driver=raw,offset=...',
  size: 'use driver=raw,size=...',
  cache: 'say cache.direct=on or cache.no-flush=on there, or writethrough=on in --export',
  nocache: 'say cache.direct=on there',
  aio: 'say aio=... there',
  discard: 'say discard=... there',
  'detect-zeroes': 'say detect-zeroes=... there',
  'image-opts': 'the nodes are described',
  iothreads: 'use --object iothread and iothread=... in --export'
}

/** Options that mean a file, each with what says the same of a node. */
const ofFile = {
  format: 'the driver is the format',
  offset: 'it is driver=raw,offset=...',
  size: 'it is driver=raw,size=...',
  nocache: 'it is cache.direct=on of driver=file',
  aio: 'it is aio=... of driver=file',
  discard: 'it is discard=... there',
  'detect-zeroes': 'it is detect-zeroes=... there'
} as const

/** As well, of the modes of --cache. */
const ofCache = {
  none: 'it is cache.direct=on of driver=file',
  directsync: 'it is cache.direct=on of driver=file, and --cache writethrough',
  unsafe: 'it is cache.no-flush=on of driver=file'
} as const

export type ServeArguments = ArgumentsCamelCase<
  InferredOptionTypes<typeof serveOptions> & { image: string | undefined }
>

export const buildServe = (
  yargs: Argv
): Argv<InferredOptionTypes<typeof serveOptions> & { image: string | undefined }> =>
  yargs
    .usage(
      'mqnbd serve IMAGE [options]\nmqnbd serve --blockdev ... --export ... [options]\n\n' +
        'Serves IMAGE to NBD clients: a file, a block device, memory:SIZE, or the NBD URI of an export of another server. ' +
        'Or opens nodes and serves several of them.'
    )
    .positional('image', { type: 'string', describe: 'File, block device, memory:SIZE, or NBD URI' })
    .options(serveOptions)
    .check((args) => misplaced(args) ?? contradictory(args) ?? listensTwice(args) ?? true)
    .check(() => oddBoolean(process.argv) ?? true)
    .example('mqnbd serve disk.img -t', 'serve disk.img at nbd://localhost:10809 until Ctrl-C')
    .example(
      'mqnbd serve disk.img -r -k /tmp/nbd.sock',
      'read-only, on a Unix socket, for one round of clients'
    )
    .example('mqnbd serve memory:1G -p 0', 'an empty disk in memory, on a free port')
    .example('mqnbd serve nbd://host/disk -p 0', "another server's export, forwarded by all threads")
    .example(
      'mqnbd serve --blockdev file,node-name=a,filename=a.img --export nbd,id=a,node-name=a',
      'a.img, read-only, under the name a; both options may be repeated'
    )

/** @throws NBDError of kind `config` */
export const imageOptions = (args: ServeArguments): ImageOptions => ({
  // The check of `buildServe` has seen that it is there.
  image: args.image!,
  format: args.format,
  readOnly: args.readOnly,
  offset: args.offset === undefined ? undefined : parseSize(args.offset, '--offset'),
  size: args.size === undefined ? undefined : parseSize(args.size, '--size'),
  direct: cacheOf(args).direct,
  noFlush: cacheOf(args).noFlush,
  aio: args.aio,
  discard: args.discard && discardMode(args.discard),
  detectZeroes: args.detectZeroes
})

const cacheOf = ({
  nocache,
  cache = nocache ? 'none' : 'writeback'
}: Pick<Partial<ServeArguments>, 'cache' | 'nocache'>): CacheMode => CACHE[cache]

/** What IMAGE describes by `--image-opts`. @throws NBDError of kind `config` */
export function imageNode({ image, readOnly = false }: ServeArguments): OptionObject {
  const options = parseOptionText(image!, '--image-opts', 'driver')
  return readOnly ? { ...options, 'read-only': true } : options
}

/** @throws NBDError of kind `config` */
export const serverOptions = (args: ServeArguments): Omit<NBDServerOptions, 'tls'> => ({
  maxConnections: parseInteger(args.shared, '--shared', 0, MAX_CONNECTIONS),
  iothreads: ownIOThreads(args),
  handshakeTimeoutMs: handshakeTimeout(args),
  maxInFlightBytes: args.maxInFlight === undefined ? undefined : maxInFlight(args.maxInFlight)
})

function handshakeTimeout({ handshakeLimit }: ServeArguments): number | undefined {
  if (handshakeLimit === undefined) return undefined
  return parseInteger(handshakeLimit, '--handshake-limit', 0, MAX_HANDSHAKE_S) * 1000
}

function maxInFlight(text: string): number {
  const bytes = parseSize(text, '--max-in-flight')
  // Less would not hold the longest request, more would not fit into the counter.
  if (bytes >= NBD_MAX_BUFFER_SIZE && bytes <= MAX_IN_FLIGHT) return bytes
  throw configError(`--max-in-flight: '${text}' is not from 32M to 1G`)
}

/** @param objects `--tls-creds` may name one of them @throws NBDError of kind `config` */
export function tlsPolicy(args: ServeArguments, objects: ObjectTable): TLSPolicy | undefined {
  const { tls, tlsCreds, tlsPsk, tlsVerifyPeer: verifyPeer } = args
  if (tls === 'off') return undefined
  if (tlsCreds !== undefined && tlsPsk !== undefined)
    throw configError('--tls-creds and --tls-psk: one of them at a time')
  if (verifyPeer === false && tlsCreds === undefined)
    throw configError('--tls-verify-peer is for --tls-creds')
  const required = tls !== 'on'
  if (tlsPsk !== undefined)
    return { creds: loadServerPsk(nonEmpty(tlsPsk, '--tls-psk: which file?')), required }
  if (tlsCreds !== undefined) {
    const named = nonEmpty(tlsCreds, '--tls-creds: which folder?')
    const object = objects.list().find(({ id, type }) => id === named && TLS_CREDS_TYPES.includes(type))
    const creds = object
      ? credsOf(object, verifyPeer)
      : loadServerCreds(named, { verifyPeer: verifyPeer ?? true })
    return { creds, required }
  }
  if (tls !== undefined) throw configError(`--tls ${tls} needs --tls-creds or --tls-psk`)
  return undefined
}

/** @throws NBDError of kind `config` */
function credsOf(object: UserObject, verifyPeer: boolean | undefined): TLSCreds {
  const { id, type } = object
  if (!(object instanceof TLSServerCreds))
    throw configError(`--tls-creds: '${id}' is for a client: a server needs endpoint=server`)
  if (verifyPeer !== undefined)
    throw configError(`--tls-verify-peer is for a folder: ${type} '${id}' says itself what it demands`)
  return object.creds
}

/** Threads of an export that is bound to none: with `--export` it has one, as in QEMU. */
function ownIOThreads({ image, iothreads }: ServeArguments): number | undefined {
  if (image === undefined) return 1
  return iothreads === undefined ? undefined : parseInteger(iothreads, '--iothreads', 1, MAX_IOTHREADS)
}

export const exportOptions = (args: ServeArguments): ExportOptions & { name: string } => ({
  name: args.exportName,
  description: args.description,
  writethrough: cacheOf(args).writethrough
})

/** Where to listen, when no socket was passed. @throws NBDError of kind `config` */
export function listenAddress({
  socket,
  vsock = false,
  bind = DEFAULT_HOST,
  port = String(NBD_DEFAULT_PORT)
}: ServeArguments): ListenAddress {
  if (vsock && socket !== undefined) throw configError('--vsock and --socket do not go together')
  // The last one of vsock's is what the kernel takes for any port.
  const number = parseInteger(port, '--port', 0, vsock ? MAX_VSOCK_PORT - 1 : MAX_TCP_PORT)
  if (vsock) return { cid: VMADDR_CID_ANY, port: number }
  if (socket !== undefined) return { path: nonEmpty(socket, '--socket: which path?') }
  return { host: nonEmpty(bind, '--bind: which address? (0.0.0.0 for all)'), port: number }
}

/** @throws NBDError of kind `config` */
export const pidFile = (args: ServeArguments): string | undefined =>
  args.pidFile === undefined ? undefined : nonEmpty(args.pidFile, '--pid-file: which file?')

function nonEmpty(text: string, question: string): string {
  if (text === '') throw configError(question)
  return text
}

/** IMAGE is one way to say what to serve, the options of a graph are the other. @returns what is wrong */
function misplaced(args: Partial<ServeArguments>): string | undefined {
  if (args.image === '') return 'serve: which IMAGE?'
  const graph = GRAPH_OPTIONS.find((option) => args[option] !== undefined && !goesWithImage(option))
  if (args.image !== undefined) {
    if (graph === 'object') return 'serve: of objects only TLS credentials go with IMAGE'
    return graph && `serve: give either IMAGE or --${graph}, not both`
  }
  if (graph === undefined) return 'serve: which IMAGE?'
  const alien = Object.entries(ofImage).find(([option]) => args[option as keyof ServeArguments])
  return alien && `serve: --${alien[0]} goes with IMAGE; with --${graph}, ${alien[1]}`
}

/** Whether all that is given of an option is of use with IMAGE, too. */
function goesWithImage(option: string): boolean {
  const steps = graphSteps(process.argv).filter((step) => step.option === option)
  return steps.length > 0 && steps.every(({ option, value }) => option === 'object' && isTlsCreds(value))
}

function isTlsCreds(value: string): boolean {
  try {
    const { 'qom-type': type } = parseOptionText(value, '--object', 'qom-type')
    return typeof type === 'string' && TLS_CREDS_TYPES.includes(type)
  } catch {
    return false
  }
}

/** What says something of IMAGE twice, or of a file where IMAGE describes nodes. @returns what is wrong */
function contradictory(args: Partial<ServeArguments>): string | undefined {
  const { cache, nocache, verbose, logLevel, imageOpts } = args
  if (nocache && cache !== undefined) return 'serve: --nocache and --cache: one of them at a time'
  if (verbose && logLevel !== undefined) return 'serve: --verbose and --log-level: one of them at a time'
  if (!imageOpts) return undefined
  const inOptions = (option: string, text: string): string =>
    `serve: --${option} goes with a file; in --image-opts, ${text}`
  if (cache !== undefined && cache in ofCache)
    return inOptions(`cache ${cache}`, ofCache[cache as keyof typeof ofCache])
  const alien = Object.entries(ofFile).find(([option]) => args[option as keyof typeof ofFile])
  return alien && inOptions(...alien)
}

/** Whoever passes sockets says where to listen. @returns what is wrong */
function listensTwice(args: Partial<ServeArguments>): string | undefined {
  const given = (['bind', 'port', 'socket', 'vsock'] as const).find((option) => args[option] !== undefined)
  if (activatedSockets() === 0) return undefined
  if (args.fork) return 'serve: --fork cannot be given where a socket to listen on is passed (LISTEN_FDS)'
  if (given === undefined) return undefined
  return `serve: --${given} cannot be given where a socket to listen on is passed (LISTEN_FDS)`
}

/** yargs takes `--read-only=maybe` for a no. @returns what is wrong */
function oddBoolean(argv: string[]): string | undefined {
  for (const [name, { type, alias }] of Object.entries<Options>(serveOptions)) {
    if (type !== 'boolean') continue
    const given = argv.find((arg) => arg.startsWith(`--${name}=`) || arg.startsWith(`-${String(alias)}=`))
    const value = given?.slice(given.indexOf('=') + 1)
    if (value !== undefined && value !== 'true' && value !== 'false') {
      return `--${name} takes no value, or true or false: not '${value}'`
    }
  }
  return undefined
}
