/** Threads as the kernel knows them. */
import * as fs from 'node:fs'
import { declare } from './libc.ts'

const gettid = declare('int gettid()')

/** The kernel's id of the calling thread, as in /proc/PID/task. @see gettid(2) */
export const kernelThreadId = (): number => gettid()

/** Whether this process has such a thread. @param id the kernel's */
export const threadRuns = (id: number): boolean => fs.existsSync(`/proc/self/task/${id}`)
