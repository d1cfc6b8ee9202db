/** 64-bit numbers of the wire, as numbers. */

import { readUint32, writeUint32 } from './uint.ts'

const LOW = 0x100000000
/** From here on the high half of a number is beyond 2^53 - 1. */
const HIGH_LIMIT = 0x200000

/** The unsigned number at `at`; Infinity when it is beyond 2^53 - 1, so that every bound refuses it. */
export function readUint64(buf: Buffer, at: number): number {
  const high = readUint32(buf, at)
  return high < HIGH_LIMIT ? high * LOW + readUint32(buf, at + 4) : Infinity
}

/** Writes a number from 0 to 2^53 - 1. */
export function writeUint64(buf: Buffer, at: number, value: number): void {
  writeUint32(buf, at, Math.floor(value / LOW))
  writeUint32(buf, at + 4, value % LOW)
}
