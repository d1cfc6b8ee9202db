/** What the kernel tells of a process. */
import * as fs from 'node:fs'

/** What each open descriptor stands for. */
export const openDescriptors = (pid: number): string[] =>
  fs.readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [fs.readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      // Closed meanwhile.
      return []
    }
  })

/** How many descriptors are sockets. */
export const openSockets = (pid: number): number =>
  openDescriptors(pid).filter((target) => target.startsWith('socket:')).length

/** Bytes of memory that the process occupies. */
export function residentBytes(pid: number): number {
  const [, kib] = /^VmRSS:\s*(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))!
  return Number(kib) * 1024
}

/** How often each thread, by its id, has waited for something. */
export function waitsByThread(pid: number): Map<number, number> {
  const threads = fs.readdirSync(`/proc/${pid}/task`).map(Number)
  return new Map(
    threads.map((tid) => {
      const status = fs.readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8')
      return [tid, Number(/^voluntary_ctxt_switches:\s*(\d+)$/m.exec(status)![1])]
    })
  )
}

/** How many threads there are. */
export const threadCount = (pid: number): number => fs.readdirSync(`/proc/${pid}/task`).length
