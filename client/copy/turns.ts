/** Lets pieces that are ready in any order go on in the order of their offsets. */
export class Turns {
  #next = 0
  readonly #waiting = new Map<number, () => void>()

  /** Resolves when everything before `offset` is done. */
  async turn(offset: number): Promise<void> {
    if (offset !== this.#next) await new Promise<void>((resolve) => this.#waiting.set(offset, resolve))
  }

  /** Everything before `end` is done. */
  done(end: number): void {
    this.#next = end
    const next = this.#waiting.get(end)
    this.#waiting.delete(end)
    next?.()
  }
}
