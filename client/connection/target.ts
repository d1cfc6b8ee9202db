/**
 * What connections are made to: an address, a program, a stream, a channel. What only some of them need is loaded when one
 * of these is opened.
 *
 * @context the thread that connects
 */
import type { Duplex } from 'node:stream'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import type { ActivatedCommand } from '../../shared/io/activated-command.ts'
import type { ExitStatus, QIOChannelCommand } from '../../shared/io/channel-command.ts'
import { QIOChannelStream } from '../../shared/io/channel-stream.ts'
import { QIOChannel } from '../../shared/io/channel.ts'
import { connectSocket } from '../../shared/io/connect.ts'
import { stringProblem } from '../../shared/protocol/string.ts'
import { formatUri, parseUri } from '../../shared/protocol/uri.ts'
import type { TLSParameters } from '../../shared/protocol/uri-tls.ts'
import { clientTls, type ClientTLS } from './client-tls.ts'
import { parseWebsocketUrl } from './websocket-url.ts'

/** A server that has no URI. */
export type ConnectTarget = { exportName?: string } & (
  | {
      /** A program that is run, and ended by `close`: found by PATH, and its arguments. */
      command: readonly string[]
      /**
       * It serves one client on its standard input and output, as `nbdkit -s` does. Absent: it is given a listening socket,
       * by systemd's socket activation.
       */
      stdio?: boolean
    }
  /** URL of a WebSocket (`ws://` or `wss://`) that carries NBD in binary messages, with the sub-protocol `binary`. */
  | { websocket: string }
  /** A stream of bytes that nobody else uses, where a server's greeting comes first. It is ended by `close`. */
  | { stream: Duplex }
  /** One end of an in-memory pair, for example, of which a server has the other. It is closed by `close`. */
  | { channel: QIOChannel }
)

export interface Target {
  /** For messages. */
  readonly name: string
  readonly exportName: string
  /** What NBD_OPT_STARTTLS is required with; absent: no TLS. */
  readonly tls: ClientTLS | undefined
  /** TLS is below the channels already. */
  readonly secure?: boolean
  /** Its connections are sockets, whatever lies behind them. */
  readonly shareable?: boolean
  /** `open` may be called again, also for several connections at a time. */
  readonly reopens: boolean

  /**
   * Connects.
   *
   * @param signal ends waiting for an address
   * @returns a channel of which nothing was read, the caller's to close
   * @throws NBDError of kind `transport` or `config`
   */
  open(timeoutMs: number, signal?: AbortSignal): Promise<QIOChannel>

  /** Why a connection has just failed, when the target knows better. */
  explain?(): Promise<string | undefined>

  /** To be called when all channels are closed. Never fails. */
  close(): Promise<void>
}

/** How long a program may take to end when its connection has ended, in ms, to be asked for the reason. */
const EXPLAIN_TIMEOUT_MS = 2000

/**
 * @param tls requires TLS, and comes before what a URI says of it
 * @throws NBDError of kind `config`
 */
export function targetOf(target: string | ConnectTarget, tls: TLSParameters | undefined): Target {
  if (typeof target === 'string') return uriTarget(target, tls)
  const { exportName = '' } = target
  const problem = stringProblem(exportName)
  if (problem !== undefined) throw configError(`the export's name ${problem}`)
  if ('websocket' in target) return { exportName, ...websocketTarget(target.websocket, tls) }
  const common = { exportName, tls: tls && clientTls(tls, undefined) }
  if ('command' in target) {
    const [program, ...args] = target.command
    if (program === undefined) throw configError('the command is empty')
    const name = `[ ${target.command.join(' ')} ]`
    return { ...common, name, ...(target.stdio ? overStdio : bySocket)([program, ...args]) }
  }
  if ('stream' in target)
    return { ...common, name: 'a stream', ...once(() => new QIOChannelStream(target.stream)) }
  if (!(target.channel instanceof QIOChannel)) throw configError('the channel is not a QIOChannel')
  return { ...common, name: 'a channel', ...once(() => target.channel) }
}

function uriTarget(text: string, tls: TLSParameters | undefined): Target {
  const { address, exportName, tls: own } = parseUri(text)
  const parameters = tls || own ? { ...own, ...defined(tls) } : undefined
  const name = formatUri({ address, exportName, ...(parameters ? { tls: parameters } : {}) })
  return {
    name,
    exportName,
    tls: parameters && inContext(name, () => clientTls(parameters, address)),
    reopens: true,
    open: (timeoutMs, signal) => connectSocket(address, timeoutMs, signal),
    close: async () => undefined
  }
}

/** TLS is where the URL has it, and nowhere else. */
function websocketTarget(url: string, tls: TLSParameters | undefined): Omit<Target, 'exportName'> {
  const address = parseWebsocketUrl(url)
  const { secure } = address
  if (tls && !secure) throw configError(`'${url}' is without TLS: write 'wss://'`)
  const creds = secure ? inContext(url, () => clientTls(tls ?? {}, address)) : undefined
  return {
    name: url,
    tls: undefined,
    secure,
    reopens: true,
    open: async (timeoutMs) => (await import('./websocket.ts')).openWebsocket(address, creds, timeoutMs),
    close: async () => undefined
  }
}

/** What a program gives as undefined, it does not give. */
const defined = (tls: TLSParameters | undefined): TLSParameters =>
  Object.fromEntries(Object.entries(tls ?? {}).filter(([, value]) => value !== undefined))

function inContext<T>(name: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!NBDError.is(error)) throw error
    throw configError(`cannot open '${name}': ${error.message}`, error)
  }
}

/** The parts of a target that are about opening it. */
type Opening = Pick<Target, 'reopens' | 'open' | 'explain' | 'close'>

/** What is there already, and cannot be had again. */
function once(make: () => QIOChannel): Opening {
  let opened = false
  return {
    reopens: false,
    open: async () => {
      if (opened) throw new NBDError('transport', 'it can be connected to only once')
      opened = true
      return make()
    },
    close: async () => undefined
  }
}

/** @see nbd_connect_command(3) */
function overStdio(argv: readonly [string, ...string[]]): Opening {
  let opened = false
  let command: QIOChannelCommand | undefined
  return {
    reopens: false,
    open: async () => {
      if (opened) throw new NBDError('transport', 'the program serves one connection')
      opened = true
      const { QIOChannelCommand } = await import('../../shared/io/channel-command.ts')
      return (command = await QIOChannelCommand.spawn(argv))
    },
    explain: async () => command && explainEnd(command.exited),
    // Closing the channel ends the program.
    close: async () => undefined
  }
}

/** @see nbd_connect_systemd_socket_activation(3) */
function bySocket(argv: readonly [string, ...string[]]): Opening {
  let started: Promise<ActivatedCommand> | undefined
  return {
    reopens: true,
    open: async (timeoutMs, signal) => {
      const { address } = await (started ??= startActivated(argv))
      return connectSocket(address, timeoutMs, signal)
    },
    explain: async () => {
      const command = await started?.catch(() => undefined)
      return command && explainEnd(command.exited)
    },
    close: async () => {
      const command = await started?.catch(() => undefined)
      await command?.close()
    }
  }
}

async function startActivated(argv: readonly [string, ...string[]]): Promise<ActivatedCommand> {
  const { ActivatedCommand } = await import('../../shared/io/activated-command.ts')
  return ActivatedCommand.start(argv)
}

/** How a program has ended, if it does so now. */
async function explainEnd(exited: Promise<ExitStatus>): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), EXPLAIN_TIMEOUT_MS)
  })
  const ended = await Promise.race([exited, late])
  clearTimeout(timer)
  if (!ended) return undefined
  return ended.signal
    ? `the program was ended by ${ended.signal}`
    : `the program has ended, with status ${ended.code}`
}
