/** `mqnbd list`: prints the exports of a server. `mqnbd info --list` tells all about them. */
import { printable } from '../../shared/config/printable.ts'
import { list as listOf, type ExportListing } from '../index.ts'
import type { ListArguments } from './list-options.ts'
import { print } from './print.ts'

/** Where the server does not tell a size. */
const UNKNOWN = '-'

/**
 * @returns the exit status
 * @throws NBDError when the server does not list its exports
 */
export async function list({ target, json }: ListArguments): Promise<number> {
  // The check of `buildList` has seen that it is there.
  const exports = await listOf(target!)
  const text = json ? JSON.stringify(exports.map(jsonOf), null, 2) + '\n' : exports.map(lineOf).join('')
  await print(text)
  return 0
}

/** Columns by tabs, so that a program can take them apart. */
const lineOf = ({ name, description, details }: ExportListing): string =>
  `${[printable(name), details?.size ?? UNKNOWN, printable(description)].join('\t').trimEnd()}\n`

/** With the keys of `mqnbd info --json`. */
const jsonOf = ({ name, description, details, refusal }: ExportListing): Record<string, unknown> => ({
  'export-name': name,
  ...(description === '' ? {} : { description }),
  ...(details ? { 'export-size': details.size } : {}),
  ...(refusal ? { error: refusal.message } : {})
})
