/** What a server costs: processor time and memory of a process with all its threads and children. */
import * as fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** Of the counters in /proc/PID/stat; Linux has no other for programs. */
const TICKS_PER_SECOND = 100
const KIB = 1024

/** How long a server may take to come to rest after a load. */
const REST_MS = 1000
/** Two ticks: who works in that time is seen to. */
const LOOK_MS = 20

/** Processes that are gone meanwhile read as nothing. */
function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code!)) return ''
    throw error
  }
}

function threads(pid: number): string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/** The process and its children, and theirs. */
export function processTree(pid: number): number[] {
  const children = threads(pid).flatMap((tid) =>
    read(`/proc/${pid}/task/${tid}/children`).split(' ').filter(Boolean).map(Number)
  )
  return [pid, ...children.flatMap(processTree)]
}

/** User and system time, with that of the children that have ended. */
function ticks(pid: number): number {
  const stat = read(`/proc/${pid}/stat`)
  // Behind the name, which may contain anything, the third field comes first.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
}

/** Seconds of processor time so far. */
const cpuSeconds = (pid: number): number =>
  processTree(pid).reduce((sum, id) => sum + ticks(id), 0) / TICKS_PER_SECOND

/**
 * Seconds of processor time, when the server has come to rest: connections are gone, children have been waited for. One
 * that does not rest is taken as it is after a while.
 */
export async function cpuAtRest(pid: number): Promise<number> {
  const end = performance.now() + REST_MS
  for (let before = cpuSeconds(pid); ;) {
    await sleep(LOOK_MS)
    const now = cpuSeconds(pid)
    if (now === before || performance.now() > end) return now
    before = now
  }
}

/** Lets the peaks of memory begin again at what is there now. */
export function resetPeakMemory(pid: number): void {
  for (const id of processTree(pid)) fs.writeFileSync(`/proc/${id}/clear_refs`, '5')
}

/** The most memory that was resident, in bytes: the sum over the processes that are there now. */
export const peakMemory = (pid: number): number => processTree(pid).reduce((sum, id) => sum + peakOf(id), 0)

function peakOf(pid: number): number {
  const [, kib] = /^VmHWM:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`)) ?? []
  return Number(kib ?? 0) * KIB
}
