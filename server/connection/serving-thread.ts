/**
 * An IOThread at work for a server.
 *
 * @context main
 */
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import type { IOThread } from '../../shared/iothread/io-thread.ts'

export class ServingThread {
  readonly thread: IOThread
  /** The server's, to stop. */
  readonly own: boolean
  /** Its lane in the gates of exports. */
  readonly lane: number
  /** How many began there, or were moved there, and have not ended. */
  connections = 0

  constructor(thread: IOThread, own: boolean, lane: number) {
    this.thread = thread
    this.own = own
    this.lane = lane
  }

  get id(): string {
    return this.thread.id
  }

  /** Has the thread do something; one that is dead, or dies over it, is told in vain. */
  async tell<A>(entry: EntryPoint<A, void>, argument: A): Promise<void> {
    await this.thread.run(entry, argument).catch((error: unknown) => {
      if (this.thread.fault === undefined) throw error
    })
  }
}

/** @returns undefined when there are none */
export function leastLoaded(threads: Iterable<ServingThread>): ServingThread | undefined {
  let least: ServingThread | undefined
  for (const thread of threads) if (!least || thread.connections < least.connections) least = thread
  return least
}
