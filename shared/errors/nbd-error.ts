/**
 * The base of the errors that mqnbd throws on purpose. `kind` decides the fate of what failed, so that one
 * place per connection or command can act on it without looking at texts.
 */

/**
 * - `request`: one request failed; it is answered by an errno and the connection lives
 * - `protocol`: the peer broke the protocol's framing; the connection ends
 * - `transport`: the connection itself failed
 * - `config`: the user asked for something that cannot be; one line, exit status 1
 * - `bug`: a broken promise inside mqnbd
 */
export type NBDErrorKind = 'request' | 'protocol' | 'transport' | 'config' | 'bug'

const brand = Symbol.for('mqnbd.NBDError')

export class NBDError extends Error {
  override readonly name = 'NBDError'
  readonly kind: NBDErrorKind
  /** Positive errno of this system, where there is one. */
  readonly errno: number | undefined
  readonly [brand] = true

  constructor(kind: NBDErrorKind, message: string, options: { errno?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.kind = kind
    this.errno = options.errno
  }

  static is(error: unknown): error is NBDError {
    return typeof error === 'object' && error !== null && brand in error
  }
}

/** What the user did cannot be done: `mqnbd: <message>`, exit status 1. */
export const configError = (message: string, cause?: unknown): NBDError =>
  new NBDError('config', message, { cause })

/** The peer broke the protocol; the connection ends and the message goes to the log. */
export const protocolError = (message: string): NBDError => new NBDError('protocol', message)

/** A promise inside mqnbd was broken. */
export const bugError = (message: string): NBDError => new NBDError('bug', message)
