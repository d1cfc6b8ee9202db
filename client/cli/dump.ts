/** `mqnbd dump`: prints a disk as a hex dump, as nbddump does. */
import { constants } from 'node:os'
import { parseSize } from '../../shared/config/size.ts'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoOf, reason } from '../../shared/errors/system-error.ts'
import { openRandomSource } from '../copy/open-endpoint.ts'
import { hexdump } from '../dump/hexdump.ts'
import { RESTORE } from '../dump/line.ts'
import type { DumpArguments } from './dump-options.ts'
import { closeAll, untilSignal } from './long-work.ts'

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
    for await (const text of hexdump(source, { offset, length, colour })) await print(text)
    return 0
  } catch (error) {
    // Whoever read it has seen enough.
    if (errnoOf(error) === constants.errno.EPIPE) return 1
    throw error
  } finally {
    forget()
    await closeAll([source])
  }
}

/** Waits until the text has gone. */
function print(text: string): Promise<void> {
  const { stdout } = process
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      const errno = errnoOf(error)
      const numbered = errno === undefined ? {} : { errno }
      reject(new NBDError('request', `cannot write: ${reason(error)}`, { ...numbered, cause: error }))
    }
    stdout.once('error', onError)
    stdout.write(text, (error) => {
      // The event follows the callback, and must find somebody.
      if (error) return
      stdout.off('error', onError)
      resolve()
    })
  })
}
