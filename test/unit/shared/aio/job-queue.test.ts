import t from 'tap'
import { JobQueue } from '../../../../shared/aio/job-queue.ts'
import { Job } from '../../../../shared/aio/thread-pool-element.ts'

const newJobs = (count: number): Job[] =>
  Array.from({ length: count }, (_, i) => {
    const message = { id: 0, module: '', name: String(i), argument: undefined }
    return new Job(message, [], () => undefined)
  })

function drain(queue: JobQueue): string {
  let names = ''
  for (let job = queue.shift(); job; job = queue.shift()) names += job.name
  return names
}

void t.test('JobQueue - first in, first out', async (t) => {
  const queue = new JobQueue()
  t.equal(queue.first, undefined)
  t.equal(queue.shift(), undefined)
  for (let round = 0; round < 2; round++) {
    const jobs = newJobs(4)
    for (const job of jobs) queue.push(job)
    t.equal(queue.size, 4)
    t.equal(queue.first, jobs[0])
    t.equal(drain(queue), '0123')
    t.equal(queue.size, 0)
  }
})

for (const [which, left] of [
  [[0], '1234'],
  [[4], '0123'],
  [[2], '0134'],
  [[1, 2], '034'],
  [[3, 0, 4], '12'],
  [[4, 3, 2, 1, 0], '']
] as const) {
  void t.test(`JobQueue - without ${which.join(', ')}`, async (t) => {
    const queue = new JobQueue()
    const jobs = newJobs(5)
    for (const job of jobs) queue.push(job)
    for (const i of which) queue.remove(jobs[i]!)
    t.equal(queue.size, left.length)
    queue.push(jobs[which[0]]!)
    t.equal(drain(queue), `${left}${which[0]}`)
  })
}
