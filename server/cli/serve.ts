/** `mqnbd serve`: serves an image, or several nodes, until a signal, or until the last client has gone. */
import * as fs from 'node:fs'
import '../../shared/block/drivers/index.ts'
import type { BlockNode } from '../../shared/block/block-node.ts'
import { openImage } from '../../shared/block/open-image.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { reason } from '../../shared/errors/system-error.ts'
import { log, setLogLevel } from '../../shared/log/log.ts'
import { formatTcpUri, formatUnixUri, formatUri } from '../../shared/protocol/uri.ts'
import { localCid } from '../../shared/syscall/vsock.ts'
import { printable } from '../../shared/config/printable.ts'
import { formatSize } from '../../shared/config/size.ts'
import { takeActivatedSockets } from '../listener/activation.ts'
import type { ListenAddress, NBDListener } from '../listener/nbd-listener.ts'
import type { TLSPolicy } from '../negotiation/tls-policy.ts'
import { NBDServer, type ExportOptions } from '../nbd-server.ts'
import { inBackground, leaveForeground, startInBackground } from './background.ts'
import { graphSteps } from './graph-steps.ts'
import { Graph } from './serve-graph.ts'
import {
  exportOptions,
  imageNode,
  imageOptions,
  listenAddress,
  pidFile,
  serverOptions,
  tlsPolicy,
  type ServeArguments
} from './serve-options.ts'

/** How long a server that was told to end waits for requests in flight. */
const SHUTDOWN_TIMEOUT_MS = 10_000

/**
 * Whoever asks a second time, after this, does not want to wait. Sooner it is the same Ctrl-C: the terminal sends it to
 * us, and npm passes on the one that it got.
 */
const IMPATIENCE_MS = 1000

/**
 * @returns the exit status
 * @throws NBDError of kind `config` when it could not start; nothing is left behind then
 */
export async function serve(args: ServeArguments): Promise<number> {
  if (args.fork && !inBackground) return startInBackground()
  setLogLevel(args.logLevel ?? (args.verbose ? 'debug' : 'warn'))
  // A write beyond the limit on the size of files is that request's error, and no reason to end. Node ignores the signal
  // anyway; what is preloaded into the process may not.
  process.on('SIGXFSZ', () => undefined)
  const passed = takeActivatedSockets().map((fd) => ({ fd }))
  const address = passed.length === 0 ? listenAddress(args) : undefined
  const pid = pidFile(args)
  const options = serverOptions(args)
  const { exports, tls, close } = await open(args)
  const server = await NBDServer.start({ ...options, tls })
  try {
    for (const { node, options } of exports) await server.addExport(node, options)
    const ended = untilEnd(server, args.persistent ?? false)
    for (const socket of passed) await server.listen(socket)
    const listener = address && (await server.listen(address))
    if (pid !== undefined) writePidFile(pid)
    // Whoever passes a socket knows where it is; and standard output may be for what its client prints.
    if (listener) process.stdout.write(readyLines(exports, address, listener, tls?.required ?? false))
    else log.info({ sockets: passed.length }, 'listening on what was passed')
    if (inBackground) leaveForeground(args.verbose ?? false)
    return await ended
  } finally {
    await server.close(SHUTDOWN_TIMEOUT_MS)
    await close()
    if (pid !== undefined) removePidFile(pid)
  }
}

interface Opened {
  node: BlockNode
  /** What the user calls it. */
  label: string
  options: ExportOptions & { name: string }
}

/** What is to be served, and how; `close` is for when the server is closed. */
async function open(
  args: ServeArguments
): Promise<{ exports: Opened[]; tls: TLSPolicy | undefined; close: () => Promise<void> }> {
  const graph = await Graph.build(graphSteps(process.argv), args.image !== undefined)
  const close = (): Promise<void> => graph.close()
  try {
    const tls = tlsPolicy(args, graph.objects)
    const exports = graph.exports.map(({ node, nodeName, options }) => ({ node, label: nodeName, options }))
    if (args.image === undefined) return { exports, tls, close }
    const label = args.image
    const options = exportOptions(args)
    if (args.imageOpts) {
      const node = await graph.open(imageNode(args), '--image-opts')
      return { exports: [{ node, label, options: { ...options, keepNode: true } }], tls, close }
    }
    const node = await openImage(imageOptions(args))
    return { exports: [{ node, label, options }], tls, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** A line for each export. */
const readyLines = (exports: Opened[], address: ListenAddress, listener: NBDListener, tls: boolean): string =>
  exports.map((one) => readyLine(one, uri(address, listener, one.options.name, tls))).join('')

function readyLine({ node, label, options }: Opened, where: string): string {
  const access = node.readOnly || options.writable === false ? ', read-only' : ''
  return `mqnbd: serving '${printable(label)}' (${formatSize(node.length)}${access}) at ${where}\n`
}

/** Resolves with the exit status when the server is to end. */
function untilEnd(server: NBDServer, persistent: boolean): Promise<number> {
  return new Promise((resolve) => {
    let asked: number | undefined
    const end = (signal: NodeJS.Signals): void => {
      if (asked === undefined) {
        asked = performance.now()
        log.info({ signal }, 'ending')
        resolve(0)
      } else if (performance.now() - asked > IMPATIENCE_MS) {
        process.exit(1)
      }
    }
    process.on('SIGINT', end)
    process.on('SIGTERM', end)
    server.onLastClient = () => {
      if (!persistent) resolve(0)
    }
    server.onFault = (_error, left) => {
      if (left === 0) resolve(1)
    }
  })
}

function uri(address: ListenAddress, listener: NBDListener, exportName: string, tls: boolean): string {
  if ('path' in address) return formatUnixUri(fs.realpathSync(address.path), exportName, tls)
  if ('cid' in address) {
    const reached = { cid: localCid(), port: listener.port! }
    return formatUri({ address: reached, exportName, ...(tls ? { tls: {} } : {}) })
  }
  const everywhere = address.host === '0.0.0.0' || address.host === '::'
  return formatTcpUri(everywhere ? 'localhost' : address.host, listener.port!, exportName, tls)
}

function writePidFile(path: string): void {
  try {
    fs.writeFileSync(path, `${process.pid}\n`)
  } catch (error) {
    throw configError(`cannot write the pid file '${path}': ${reason(error)}`, error)
  }
}

/** Only our own: another server may have started meanwhile. */
function removePidFile(path: string): void {
  try {
    if (fs.readFileSync(path, 'utf8').trim() === String(process.pid)) fs.unlinkSync(path)
  } catch {
    // Gone already, which is what was wanted.
  }
}
