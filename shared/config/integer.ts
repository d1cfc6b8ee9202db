/** Whole numbers as users write them. */
import { configError } from '../errors/nbd-error.ts'

/**
 * @param what names the option, for the message
 * @throws NBDError of kind `config`
 */
export function parseInteger(text: string, what: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN
  if (!(value >= min && value <= max))
    throw configError(`${what}: '${text}' is not a number from ${min} to ${max}`)
  return value
}
