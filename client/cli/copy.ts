/** `mqnbd copy`: copies from and to NBD servers, files, block devices and pipes, as nbdcopy does. */
import { configError } from '../../shared/errors/nbd-error.ts'
import { copy } from '../copy/copy.ts'
import type { Destination, Source, StreamSource } from '../copy/endpoint.ts'
import { MAX_REQUEST_SIZE } from '../copy/limits.ts'
import { openDestination, openSource } from '../copy/open-endpoint.ts'
import { Progress } from '../copy/progress.ts'
import { copySettings, type CopyArguments, type CopySettings } from './copy-options.ts'
import { progressOutput } from './progress-options.ts'
import { closeAll, untilSignal } from './long-work.ts'

/**
 * @returns the exit status
 * @throws NBDError when not all is copied; what is, stays
 */
export async function runCopy(args: CopyArguments): Promise<number> {
  const settings = copySettings(args)
  const opened: (Source | StreamSource | Destination)[] = []
  try {
    const source = await openSource(settings.source, settings.server)
    opened.push(source)
    const flush = args.flush ?? false
    const destination = await openDestination(settings.destination, settings.server, { flush, source })
    opened.push(destination)
    refuseTooSmall(source, destination)
    await destination.prepare(source.kind === 'stream' ? undefined : source.size)
    await copyAll(source, destination, args, settings)
  } catch (error) {
    await closeAll(opened)
    throw error
  }
  return 0
}

async function copyAll(
  source: Source | StreamSource,
  destination: Destination,
  args: CopyArguments,
  settings: CopySettings
): Promise<void> {
  const total = source.kind === 'stream' ? undefined : source.size
  const progress = new Progress(total, progressOutput(settings.progress))
  const forget = untilSignal(() => progress.abandon())
  try {
    const copied = await copy(source, destination, {
      ...requestsOf(source, destination, settings),
      sparse: settings.sparse && Math.max(settings.sparse, destination.minimum),
      allocated: args.allocated ?? false,
      destinationIsZero: args['destination-is-zero'] ?? false,
      extents: args.extents,
      onProgress: (bytes) => progress.add(bytes)
    })
    await destination.finish(copied)
    if (args.flush) await destination.flush()
    await destination.close()
    await source.close()
    progress.end()
  } catch (error) {
    progress.abandon()
    throw error
  } finally {
    forget()
  }
}

/** @throws NBDError of kind `config`, before anything is written */
function refuseTooSmall(source: Source | StreamSource, destination: Destination): void {
  if (source.kind === 'stream') return
  const { size, minimum } = destination
  const what = `cannot copy '${source.name}' to '${destination.name}'`
  if (size !== undefined && size < source.size)
    throw configError(`${what}: that has only ${size} bytes of the ${source.size} that are needed`)
  if (source.size % minimum !== 0)
    throw configError(
      `${what}: that takes whole blocks of ${minimum} bytes, and ${source.size} bytes are none`
    )
}

/** How much is asked for at a time, and how often. */
function requestsOf(
  source: Source | StreamSource,
  destination: Destination,
  { requestSize, requests, queueSize }: CopySettings
): { requestSize: number; lanes: number } {
  const ends = source.kind === 'stream' ? [destination] : [source, destination]
  const wanted = Math.max(requestSize, ...ends.map(({ preferred, minimum }) => Math.max(preferred, minimum)))
  const size = Math.min(wanted, MAX_REQUEST_SIZE)
  const connections = Math.max(...ends.map((end) => end.connections))
  const lanes = Math.min(requests, Math.max(1, Math.floor(queueSize / size))) * connections
  return { requestSize: size, lanes }
}
