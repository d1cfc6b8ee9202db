/** A conversation in JavaScript. */
import type { Readable, Writable } from 'node:stream'
import * as repl from 'node:repl'
import { inspect } from 'node:util'
import { NBDError } from '../../shared/errors/nbd-error.ts'

const PROMPT = 'mqnbd> '

export interface ConversationOptions {
  input: Readable
  output: Writable
  /** Where lines are remembered; undefined for nowhere. */
  history: string | undefined
}

/**
 * Reads, evaluates and prints, until the input ends or `.exit`. `await` may stand at the top.
 *
 * @param names what the code finds besides the globals
 */
export async function converse(
  names: Record<string, unknown>,
  { input, output, history }: ConversationOptions
): Promise<void> {
  const server = repl.start({ prompt: PROMPT, input, output, useGlobal: true, writer: show })
  Object.assign(server.context, names)
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()))
  // What cannot be remembered is said there, and no reason to end.
  if (history !== undefined) server.setupHistory(history, () => undefined)
  await ended
}

/** Our own errors need no stack: it would lead into the client. */
const show = (value: unknown): string =>
  NBDError.is(value) && value.kind !== 'bug'
    ? `${value.name}: ${value.message}`
    : inspect(value, { colors: process.stdout.isTTY && process.stdout.hasColors(), depth: 2 })
