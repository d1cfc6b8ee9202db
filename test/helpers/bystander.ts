/** A client that works while something happens to others, and checks all that it is answered. */
import * as crypto from 'node:crypto'
import type { Test } from 'tap'
import { RawClient } from './raw-client.ts'
import type { Endpoint } from './raw-stream.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE } from './raw-constants.ts'
import { waitFor } from './wait-for.ts'

const LENGTH = 64 * 1024

export class Bystander {
  #rounds = 0
  #stopped = false
  #failure: Error | undefined
  readonly #done: Promise<void>

  private constructor(client: RawClient, offset: number) {
    this.#done = this.#work(client, offset).catch((error: unknown) => {
      this.#failure = error instanceof Error ? error : new Error(String(error))
    })
  }

  /** @param offset of 64 KiB that are its own */
  static async start(t: Test, server: Endpoint, offset = 0, name = ''): Promise<Bystander> {
    return new Bystander(await RawClient.transmit(t, server, { name }), offset)
  }

  /** Resolves when it has done some more without a fault. */
  async goesOn(): Promise<void> {
    const rounds = this.#rounds
    await waitFor('the other client to go on', () => {
      if (this.#failure !== undefined) throw this.#failure
      return this.#rounds >= rounds + 5
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#done
    if (this.#failure !== undefined) throw this.#failure
  }

  async #work(client: RawClient, offset: number): Promise<void> {
    while (!this.#stopped) {
      const payload = crypto.randomBytes(LENGTH)
      const written = await client.call({ type: NBD_CMD_WRITE, offset, payload })
      if (written.error !== 0) throw new Error(`WRITE: error ${written.error}`)
      const { error, data } = await client.call({ type: NBD_CMD_READ, offset, length: LENGTH })
      if (error !== 0) throw new Error(`READ: error ${error}`)
      if (!data.equals(payload)) throw new Error('READ brings other bytes than were written')
      this.#rounds++
    }
  }
}
