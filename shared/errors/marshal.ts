/** Errors between threads: posting an Error keeps neither its class nor its fields, so they go by hand. */
import { NBDError, type NBDErrorKind } from './nbd-error.ts'

/** An error in postable form. */
export interface MarshalledError {
  message: string
  stack?: string | undefined
  /** Of an NBDError. */
  kind?: NBDErrorKind
  errno?: number | undefined
  /** Node's own, such as ENOENT. */
  code?: string | undefined
}

export function marshalError(error: unknown): MarshalledError {
  if (!(error instanceof Error)) return { message: String(error) }
  const { message, stack } = error
  if (NBDError.is(error)) return { message, stack, kind: error.kind, errno: error.errno }
  const { errno, code } = error as NodeJS.ErrnoException
  return { message, stack, errno, code }
}

export function unmarshalError({ message, stack, kind, errno, code }: MarshalledError): Error {
  const numbered = errno === undefined ? {} : { errno }
  const error =
    kind === undefined
      ? Object.assign(new Error(message), numbered, code === undefined ? {} : { code })
      : new NBDError(kind, message, numbered)
  if (stack !== undefined) error.stack = stack
  return error
}
