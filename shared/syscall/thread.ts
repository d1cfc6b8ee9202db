/** Threads as the kernel knows them. */
import { declare } from './libc.ts'

const gettid = declare('int gettid()')

/** The kernel's id of the calling thread, as in /proc/PID/task. @see gettid(2) */
export const kernelThreadId = (): number => gettid()
