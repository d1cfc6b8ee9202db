/** Why a shared connection has ended, for all threads: an error in shared memory. */
import { NBDError, type NBDErrorKind } from '../../shared/errors/nbd-error.ts'

const KINDS: readonly NBDErrorKind[] = ['request', 'protocol', 'transport', 'config', 'bug']

const KIND = 0
const ERRNO = 1
const LENGTH = 2
const HEADER_WORDS = 3
/** Of UTF-8. A message holds a text of the server's at the most, which has 4 KiB. */
const MAX_TEXT = 8192
export const REASON_BYTES = HEADER_WORDS * Int32Array.BYTES_PER_ELEMENT + MAX_TEXT

export class EndReason {
  readonly #words: Int32Array
  readonly #text: Buffer

  /** @param at where its REASON_BYTES begin, a multiple of 4 */
  constructor(memory: SharedArrayBuffer, at: number) {
    this.#words = new Int32Array(memory, at, HEADER_WORDS)
    this.#text = Buffer.from(memory, at + this.#words.byteLength, MAX_TEXT)
  }

  /** By one thread, before others are told. */
  set({ kind, errno, message }: NBDError): void {
    this.#words[KIND] = KINDS.indexOf(kind)
    this.#words[ERRNO] = errno ?? 0
    this.#words[LENGTH] = this.#text.write(message)
  }

  get(): NBDError {
    const errno = this.#words[ERRNO]!
    const message = this.#text.toString('utf8', 0, this.#words[LENGTH])
    return new NBDError(KINDS[this.#words[KIND]!]!, message, errno === 0 ? {} : { errno })
  }
}
