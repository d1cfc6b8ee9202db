/** Image files for tests, and comparing them. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'
import { tempDir } from './temp-dir.ts'

export const KiB = 1024
export const MiB = 1024 * KiB

const CHUNK = MiB

/** A file that is one hole, removed with the test. @returns its path */
export function emptyImage(t: Test, size: number): string {
  const file = path.join(tempDir(t), 'disk.img')
  fs.writeFileSync(file, '')
  fs.truncateSync(file, size)
  return file
}

/** A file with these bytes, removed with the test. @returns its path */
export function imageOf(t: Test, bytes: Uint8Array): string {
  const file = path.join(tempDir(t), 'disk.img')
  fs.writeFileSync(file, bytes)
  return file
}

/** Whether two files are the same, byte by byte. */
export function sameBytes(one: string, other: string): boolean {
  const fds = [one, other].map((file) => fs.openSync(file, 'r'))
  const buffers = fds.map(() => Buffer.alloc(CHUNK))
  try {
    for (;;) {
      const [a, b] = fds.map((fd, i) => buffers[i]!.subarray(0, fs.readSync(fd, buffers[i]!)))
      if (!a!.equals(b!)) return false
      if (a!.length === 0) return true
    }
  } finally {
    for (const fd of fds) fs.closeSync(fd)
  }
}

/** `length` bytes of a file. */
export function readAt(file: string, offset: number, length: number): Buffer {
  const fd = fs.openSync(file, 'r')
  try {
    const buffer = Buffer.alloc(length)
    return buffer.subarray(0, fs.readSync(fd, buffer, 0, length, offset))
  } finally {
    fs.closeSync(fd)
  }
}

/** Bytes that a file takes on its disk. */
export const allocatedBytes = (file: string): number => fs.statSync(file).blocks * 512
