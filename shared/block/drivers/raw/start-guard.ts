/**
 * Keeps the start of an image whose format was guessed to be raw from becoming another format's header: the next one who
 * guesses would be led by the guest's bytes to, say, a backing file of its choice.
 *
 * @see raw_co_pwritev in QEMU's block/raw-format.c
 */
import { RFifoLock, RFIFOLOCK_WORDS } from '../../../aio/rfifolock.ts'
import { NBDError } from '../../../errors/nbd-error.ts'
import { EPERM } from '../../../syscall/libc.ts'
import type { BlockNode } from '../../block-node.ts'
import { PROBE_SIZE, probeFormat } from '../../probe.ts'
import { readHead } from '../../read-head.ts'

/** What the last guarded write of this thread, by the lock's memory, is waiting for: the lock keeps only threads apart. */
const turns = new WeakMap<SharedArrayBuffer, Promise<unknown>>()

/** For one guard and its views in other threads. */
export const newGuardMemory = (): SharedArrayBuffer =>
  new SharedArrayBuffer(RFIFOLOCK_WORDS * Int32Array.BYTES_PER_ELEMENT)

export class StartGuard {
  /** Postable; the guards of all threads share it. */
  readonly memory: SharedArrayBuffer
  readonly #file: BlockNode
  readonly #lock: RFifoLock

  /** @param memory of `newGuardMemory` */
  constructor(file: BlockNode, memory: SharedArrayBuffer) {
    this.memory = memory
    this.#file = file
    this.#lock = new RFifoLock(new Int32Array(memory), 0)
  }

  /** Whether a change at this offset of the file must go through `change`. */
  covers(offset: number): boolean {
    return offset < PROBE_SIZE
  }

  /**
   * Makes a change, one at a time, unless the start would look like another format afterwards: two changes that are
   * harmless each by itself could complete a header together.
   *
   * @param edit changes the start as the change will
   * @throws NBDError of kind `request` with EPERM
   */
  change(edit: (start: Buffer) => void, make: () => Promise<void>): Promise<void> {
    const turn = (turns.get(this.memory) ?? Promise.resolve()).then(() => this.#change(edit, make))
    turns.set(
      this.memory,
      turn.catch(() => undefined)
    )
    return turn
  }

  async #change(edit: (start: Buffer) => void, make: () => Promise<void>): Promise<void> {
    await this.#lock.lockAsync()
    try {
      const bytes = await readHead(this.#file)
      edit(bytes)
      const format = probeFormat(bytes)
      if (format !== 'raw') throw refusal(format)
      await make()
    } finally {
      this.#lock.unlock()
    }
  }
}

const refusal = (format: string): NBDError =>
  new NBDError(
    'request',
    `this write would make the image look like ${format}, and its format was not named when it was opened (name it: --format raw)`,
    { errno: EPERM }
  )
