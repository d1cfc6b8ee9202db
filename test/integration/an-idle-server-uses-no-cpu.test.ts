/** CPU time, unlike elapsed time, does not depend on what else the machine does. */
import * as fs from 'node:fs'
import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { waitFor } from '../helpers/wait-for.ts'

/** Ticks of CPU time, 100 a second, that a process has used in all its threads. */
function cpuTicks(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field is the name, in parentheses; utime and stime are the 14th and 15th.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

void t.test('serve - idle with 4 IOThreads, it uses less than 0.5 % of a core over 10 s', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '--iothreads', '4'])
  const { pid } = server.process
  // For half a minute after the start V8 collects garbage every eight seconds in each thread, and then no more.
  const used = await waitFor(
    'ten quiet seconds',
    async () => {
      const before = cpuTicks(pid)
      await new Promise((resolve) => setTimeout(resolve, 10_000))
      const ticks = cpuTicks(pid) - before
      return ticks < 5 ? { ticks } : undefined
    },
    90_000
  )
  t.comment(`${used.ticks} ticks of 1,000`)
  t.ok(used.ticks < 5)
})
