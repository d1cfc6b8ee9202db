/** `mqnbd bench`: measures what an export can do. */
import { formatUri, parseUri } from '../../shared/protocol/uri.ts'
import { progressText, reportJson, reportText } from '../bench/report.ts'
import { runLoad, type RunOptions } from '../bench/run-load.ts'
import { connect } from '../connect.ts'
import type { NBDDisk } from '../nbd-disk.ts'
import { loadSvg } from '../svg/load-svg.ts'
import { benchPlan, benchRange, loadShape, type BenchArguments } from './bench-options.ts'
import { print } from './print.ts'
import { writePicture } from './write-picture.ts'

const DEFAULT_WIDTH = 80
const MAX_WIDTH = 120
/** By a signal: 128 and SIGINT. */
const INTERRUPTED_TWICE = 130

/**
 * @returns the exit status
 * @throws NBDError when the server cannot be reached, or a request fails
 */
export async function bench(args: BenchArguments): Promise<number> {
  // The check of `buildBench` has seen that it is there.
  const uri = args.uri!
  const { connections, svg, ...plan } = benchPlan(args)
  const range = benchRange(args)
  const disks = await connectAll(uri, connections)
  const interrupt = onInterrupt()
  try {
    const shape = loadShape(range, disks[0]!)
    const options: RunOptions = { ...plan, shape, signal: interrupt.signal }
    const description = { ...options, uri: formatUri(parseUri(uri)), connections }
    const result = await runLoad(disks, { ...options, ...progress() })
    clearProgress()
    await print(args.json ? reportJson(description, result) : reportText(description, result, outputWidth()))
    if (svg !== undefined) writePicture(svg, loadSvg(description, result))
    return 0
  } finally {
    clearProgress()
    interrupt.dispose()
    await Promise.all(disks.map((disk) => disk.close()))
  }
}

/** Either all are connected, or none is left open. */
async function connectAll(uri: string, connections: number): Promise<NBDDisk[]> {
  const settled = await Promise.allSettled(Array.from({ length: connections }, () => connect(uri)))
  const disks = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failure = settled.find((result) => result.status === 'rejected')
  if (!failure) return disks
  await Promise.all(disks.map((disk) => disk.close()))
  throw failure.reason
}

/** The first Ctrl-C ends the measurement; who presses it again does not want to wait for replies. */
function onInterrupt(): { signal: AbortSignal; dispose: () => void } {
  const controller = new AbortController()
  const end = (): void => {
    if (controller.signal.aborted) process.exit(INTERRUPTED_TWICE)
    controller.abort()
  }
  process.on('SIGINT', end)
  process.on('SIGTERM', end)
  return {
    signal: controller.signal,
    dispose: () => {
      process.off('SIGINT', end)
      process.off('SIGTERM', end)
    }
  }
}

/** To a terminal only: who reads a file or a pipe wants the result. */
const progress = (): Pick<RunOptions, 'onProgress'> =>
  process.stderr.isTTY
    ? { onProgress: (sofar) => process.stderr.write(`\r\x1b[K${progressText(sofar)}`) }
    : {}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
}

const outputWidth = (): number => Math.min(process.stdout.columns ?? DEFAULT_WIDTH, MAX_WIDTH)
