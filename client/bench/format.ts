/** Durations and rates for people: three digits and a unit. */

const DURATIONS = ['ns', 'us', 'ms', 's']
const COUNTS = ['', 'k', 'M', 'G']
const BYTES = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** `850 ns`, `12.3 us`, `1.00 ms`: at most 8 characters below a quarter of an hour. */
export const formatDuration = (ns: number): string => scaled(ns, 1000, DURATIONS)

/** `950`, `12.3k`, `1.25M`. */
export const formatCount = (count: number): string => scaled(count, 1000, COUNTS).replace(' ', '')

/** `512 B`, `1.50 MiB`. */
export const formatBytes = (bytes: number): string => scaled(bytes, 1024, BYTES)

function scaled(value: number, base: number, units: readonly string[]): string {
  let power = 0
  let rest = value
  // What would be rounded up to the next unit's 1 is one of that unit.
  while (power < units.length - 1 && Number(threeDigits(rest)) >= base) {
    rest /= base
    power++
  }
  return `${threeDigits(rest)} ${units[power]!}`.trimEnd()
}

function threeDigits(value: number): string {
  if (Number.isInteger(value)) return String(value)
  if (value >= 99.95) return value.toFixed(0)
  return value.toFixed(value >= 9.995 ? 1 : 2)
}
