/** Errors between threads: posting an Error keeps neither its class nor kind and errno, so they go by hand. */
import { NBDError, type NBDErrorKind } from './nbd-error.ts'

/** An error in postable form. */
export interface MarshalledError {
  message: string
  stack: string | undefined
  kind: NBDErrorKind | undefined
  errno: number | undefined
}

export function marshalError(error: unknown): MarshalledError {
  if (!(error instanceof Error)) {
    return { message: String(error), stack: undefined, kind: undefined, errno: undefined }
  }
  const { message, stack } = error
  if (!NBDError.is(error)) return { message, stack, kind: undefined, errno: undefined }
  return { message, stack, kind: error.kind, errno: error.errno }
}

export function unmarshalError({ message, stack, kind, errno }: MarshalledError): Error {
  const error =
    kind === undefined
      ? new Error(message)
      : new NBDError(kind, message, errno === undefined ? {} : { errno })
  if (stack !== undefined) error.stack = stack
  return error
}
