/** Sizes as users write them: `4096`, `64K`, `1.5G`. */
import { configError } from '../errors/nbd-error.ts'

const SUFFIXES = 'BKMGTPE'

/**
 * Reads a size. Suffixes are powers of 1024, in either case, optionally followed by `iB` or `B`, as in QEMU and nbdkit.
 *
 * @param what names the option, for the message
 * @returns bytes
 * @throws NBDError of kind `config`
 */
export function parseSize(text: string, what: string): number {
  const match = /^(\d+)(\.\d+)?(?:([KMGTPE])(?:i?B)?|B)?$/i.exec(text.trim())
  if (!match) throw configError(`${what}: '${text}' is not a size, such as 512, 64K, 10M or 1.5G`)
  const [, whole, fraction, suffix = 'B'] = match
  const bytes = Number(whole! + (fraction ?? '')) * 1024 ** SUFFIXES.indexOf(suffix.toUpperCase())
  if (!Number.isInteger(bytes)) throw configError(`${what}: '${text}' is not a whole number of bytes`)
  if (!Number.isSafeInteger(bytes)) throw configError(`${what}: '${text}' is more than 8 PiB`)
  return bytes
}

/** `1 GiB`, `1.5 MiB`, `512 B`: for people. */
export function formatSize(bytes: number): string {
  let power = 0
  let value = bytes
  while (value >= 1024 && power < SUFFIXES.length - 1) {
    value /= 1024
    power++
  }
  const digits = Number.isInteger(value) ? 0 : 1
  return `${value.toFixed(digits)} ${power === 0 ? 'B' : SUFFIXES[power] + 'iB'}`
}
