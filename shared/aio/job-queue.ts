/** Jobs that wait for a thread of a pool: first in, first out, but for those that are taken back. */
import type { Job } from './thread-pool-element.ts'

export class JobQueue {
  #first: Job | undefined
  #last: Job | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  get first(): Job | undefined {
    return this.#first
  }

  push(job: Job): void {
    job.previous = this.#last
    if (this.#last) this.#last.next = job
    else this.#first = job
    this.#last = job
    this.#size++
  }

  shift(): Job | undefined {
    const job = this.#first
    if (job) this.remove(job)
    return job
  }

  /** @param job which must be in the queue */
  remove(job: Job): void {
    const { previous, next } = job
    if (previous) previous.next = next
    else this.#first = next
    if (next) next.previous = previous
    else this.#last = previous
    job.previous = job.next = undefined
    this.#size--
  }
}
