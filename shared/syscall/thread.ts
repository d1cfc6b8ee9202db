/** Threads as the kernel knows them. */
import * as fs from 'node:fs'
import { declare } from './libc.ts'
import { Memory } from './memory.ts'

const gettid = declare('int gettid()')
const getrusage = declare('int getrusage(int who, uintptr_t usage)')

const RUSAGE_THREAD = 1
// struct rusage: two times of 16 bytes each, and 14 numbers of 8, of which ru_nvcsw is the last but one
const RUSAGE_SIZE = 144
const NVCSW = 128
const usage = Memory.allocate(RUSAGE_SIZE)

/** The kernel's id of the calling thread, as in /proc/PID/task. @see gettid(2) */
export const kernelThreadId = (): number => gettid()

/** Whether this process has such a thread. @param id the kernel's */
export const threadRuns = (id: number): boolean => fs.existsSync(`/proc/self/task/${id}`)

/**
 * How often the calling thread has given its processor away to wait for something, modulo 2^32. Those that took it from
 * the thread do not count.
 *
 * @see getrusage(2), ru_nvcsw
 */
export function voluntarySwitches(): number {
  getrusage(RUSAGE_THREAD, usage.address)
  return usage.buffer.readUInt32LE(NVCSW)
}
