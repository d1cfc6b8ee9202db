/** What a call failed with. */
import { NBDError } from '../../../../shared/errors/nbd-error.ts'

export interface Failure {
  kind: string
  errno: number | undefined
  message: string
}

/** The NBDError that a promise is rejected with; anything else is an error of the test. */
export async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  try {
    await promise
  } catch (error) {
    if (!NBDError.is(error)) throw error
    const { kind, errno, message } = error
    return { kind, errno, message }
  }
  throw new Error('it did not fail')
}
