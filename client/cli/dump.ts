/** `mqnbd dump`: prints a disk as a hex dump, as nbddump does. */
import { parseSize } from '../../shared/config/size.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { openRandomSource } from '../copy/open-endpoint.ts'
import { hexdump } from '../dump/hexdump.ts'
import { RESTORE } from '../dump/line.ts'
import type { DumpArguments } from './dump-options.ts'
import { closeAll, untilSignal } from './long-work.ts'
import { print } from './print.ts'

/**
 * @returns the exit status
 * @throws NBDError
 */
export async function runDump(args: DumpArguments): Promise<number> {
  const offset = parseSize(args.offset, '--offset')
  const limit = args.length === undefined ? Infinity : parseSize(args.length, '--length')
  const colour = args.color ?? process.stdout.isTTY
  // The check of `buildDump` has seen that it is there. Whoever looks at a disk does not mind that it is written to.
  const source = await openRandomSource(args.uri!, { lock: false })
  const forget = untilSignal(() => process.stdout.write(colour ? `\n${RESTORE}` : ''))
  try {
    if (offset > source.size)
      throw configError(
        `--offset: ${offset} lies behind the end of '${source.name}', which has ${source.size} bytes`
      )
    const length = Math.min(limit, source.size - offset)
    for await (const text of hexdump(source, { offset, length, colour })) if (!(await print(text))) return 1
    return 0
  } finally {
    forget()
    await closeAll([source])
  }
}
