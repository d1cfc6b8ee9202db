/** Threads as the kernel knows them. */
import * as fs from 'node:fs'
import { declare } from './libc.ts'
import { Memory } from './memory.ts'

const gettid = declare('int gettid()')
const getrusage = declare('int getrusage(int who, uintptr_t usage)')

const prctl = declare('int prctl(int option, unsigned long value)')
const nanosleep = declare('int nanosleep(uintptr_t time, uintptr_t left)')

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

const PR_SET_TIMERSLACK = 29
// struct timespec: seconds, and nanoseconds, of 8 bytes each
const time = Memory.allocate(16)
time.buffer.fill(0)
let isPunctual = false

/**
 * Blocks the calling thread for a short time; a signal may end it before.
 *
 * @param ns below a second. From the first call on, the kernel wakes this thread to the microsecond; by default timers may be 50 us
 *   late, so that it wakes for several at once
 * @see nanosleep(2), prctl(2), PR_SET_TIMERSLACK
 */
export function sleepNs(ns: number): void {
  if (!isPunctual) prctl(PR_SET_TIMERSLACK, 1000)
  isPunctual = true
  time.buffer.writeUInt32LE(Math.floor(ns), 8)
  nanosleep(time.address, 0)
}
