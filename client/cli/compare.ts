/** `mqnbd compare`: tells whether two disks have the same content, as `qemu-img compare` does. */
import { printable } from '../../shared/config/printable.ts'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { probeFormat, PROBE_SIZE } from '../../shared/block/probe.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { compare, type Verdict } from '../compare/compare.ts'
import type { Source } from '../copy/endpoint.ts'
import { isExport, openRandomSource } from '../copy/open-endpoint.ts'
import { noProgress, Progress } from '../copy/progress.ts'
import type { CompareArguments } from './compare-options.ts'
import { closeAll, untilSignal } from './long-work.ts'
import { print } from './print.ts'
import { progressFd, progressOutput } from './progress-options.ts'
import { withServers } from './servers.ts'

/** Of qemu-img. */
const IDENTICAL = 0
const DIFFERENT = 1
const CANNOT_OPEN = 2
const CANNOT_ASK = 3
const CANNOT_READ = 4

/** @returns the exit status; what went wrong has been told */
export async function runCompare(args: CompareArguments): Promise<number> {
  try {
    return await withServers(args, ['file1', 'file2'], openAndCompare)
  } catch (error) {
    return failed(error, CANNOT_OPEN)
  }
}

async function openAndCompare(args: CompareArguments): Promise<number> {
  const opened: Source[] = []
  try {
    const output = progressFd(args)
    // The check of `buildCompare` has seen that they are there.
    for (const [name, format] of [
      [args.file1!, args.aFormat],
      [args.file2!, args.bFormat]
    ] as const) {
      opened.push(await openRandomSource(name, { lock: !args.forceShare }))
      if (format === undefined) await refuseOtherFormats(opened.at(-1)!, opened.length === 1 ? '-f' : '-F')
    }
    return await compareOpened(opened as [Source, Source], args.quiet ? undefined : output, args)
  } finally {
    await closeAll(opened)
  }
}

async function compareOpened(
  [one, other]: [Source, Source],
  output: number | 'people' | undefined,
  { strict = false, quiet = false }: CompareArguments
): Promise<number> {
  const total = Math.max(one.size, other.size)
  const progress = new Progress(total, output === undefined ? noProgress : progressOutput(output))
  const forget = untilSignal(() => progress.abandon())
  const verdict = await compare(one, other, { strict, onProgress: (bytes) => progress.add(bytes) })
  forget()
  if (verdict.kind === 'identical') progress.end()
  else progress.abandon()
  if (verdict.kind === 'failure')
    return failed(verdict.error, verdict.during === 'status' ? CANNOT_ASK : CANNOT_READ)
  if (!quiet) await print(textOf(verdict))
  return verdict.kind === 'identical' ? IDENTICAL : DIFFERENT
}

function textOf(verdict: Verdict): string {
  const warning = 'Warning: Image size mismatch!\n'
  switch (verdict.kind) {
    case 'identical':
      return `${verdict.sizesDiffer ? warning : ''}Images are identical.\n`
    case 'content':
      return `${verdict.beyond ? warning : ''}Content mismatch at offset ${verdict.offset}!\n`
    case 'size':
      return 'Strict mode: Image size mismatch!\n'
    case 'status':
      return `Strict mode: Offset ${verdict.offset} block status mismatch!\n`
  }
}

function failed(error: unknown, status: number): number {
  if (!NBDError.is(error) || error.kind === 'bug') throw error
  process.stderr.write(`mqnbd: ${printable(error.message)}\n`)
  return status
}

/** What looks like an image of another format is not compared by its container's bytes unless that was asked for. */
async function refuseOtherFormats(source: Source, option: string): Promise<void> {
  if (isExport(source.name)) return
  const size = Math.min(PROBE_SIZE, source.size)
  const head = Memory.allocate(PROBE_SIZE)
  await source.read(0, size, () => head, 0)
  const format = probeFormat(head.buffer.subarray(0, size))
  if (format === 'raw') return
  const text = `'${source.name}' is a ${format} image, which cannot be read yet`
  throw configError(`${text}; '${option} raw' compares the bytes of the file itself`)
}
