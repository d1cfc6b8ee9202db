/** Errors between threads: posting an Error keeps neither its class nor its fields, so they go by hand. */
import { inspect } from 'node:util'
import { NBDError, type NBDErrorKind } from './nbd-error.ts'

/** An error in postable form. */
export interface MarshalledError {
  message: string
  stack?: string | undefined
  /** Of an error that is no NBDError: its class, or what it calls itself. */
  name?: string
  /** Of an NBDError. */
  kind?: NBDErrorKind
  errno?: number | undefined
  /** Node's own, such as ENOENT. */
  code?: string | undefined
}

/** JavaScript's own classes, which keep their class. */
const classes = new Map<string, ErrorConstructor>(
  [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((each) => [each.name, each])
)

/** What was thrown, which may be anything, in postable form. */
export function marshalError(error: unknown): MarshalledError {
  if (!(error instanceof Error)) return { message: typeof error === 'string' ? error : inspect(error) }
  const { message, stack, name } = error
  if (NBDError.is(error)) return { message, stack, kind: error.kind, errno: error.errno }
  const { errno, code } = error as NodeJS.ErrnoException
  return {
    message,
    stack,
    name,
    // A DOMException has a number for its code; what somebody else put there may not even be postable.
    errno: typeof errno === 'number' ? errno : undefined,
    code: typeof code === 'string' ? code : undefined
  }
}

export function unmarshalError({ message, stack, name, kind, errno, code }: MarshalledError): Error {
  const numbered = errno === undefined ? {} : { errno }
  const error =
    kind === undefined
      ? Object.assign(named(message, name), numbered, code === undefined ? {} : { code })
      : new NBDError(kind, message, numbered)
  if (stack !== undefined) error.stack = stack
  return error
}

function named(message: string, name = 'Error'): Error {
  const error = new (classes.get(name) ?? Error)(message)
  if (error.name !== name)
    Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true })
  return error
}
