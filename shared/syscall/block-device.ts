/**
 * What only block devices answer.
 *
 * @see linux/fs.h, BLKGETSIZE64 and its neighbours
 */
import { ioctl } from './ioctl.ts'
import { callInPool, errno } from './libc.ts'
import { Memory } from './memory.ts'
import { systemError } from '../errors/system-error.ts'

const BLKSSZGET = 0x1268
const BLKDISCARD = 0x1277
const BLKZEROOUT = 0x127f
const BLKGETSIZE64 = 0x80081272

const answer = Memory.allocate(8)

/**
 * Size of a block device, in bytes.
 *
 * @throws NBDError of kind `request`
 */
export function blockDeviceSize(fd: number): number {
  if (ioctl(fd, BLKGETSIZE64, answer.address) < 0) throw systemError(errno(), 'ioctl(BLKGETSIZE64)')
  return Number(answer.buffer.readBigUInt64LE(0))
}

/** Logical sector size, in bytes; 512 where the device does not say. */
export function blockDeviceSectorSize(fd: number): number {
  return ioctl(fd, BLKSSZGET, answer.address) < 0 ? 512 : answer.buffer.readInt32LE(0)
}

async function rangeCall(fd: number, request: number, offset: number, length: number): Promise<number> {
  const range = Memory.allocate(16)
  range.buffer.writeBigUInt64LE(BigInt(offset), 0)
  range.buffer.writeBigUInt64LE(BigInt(length), 8)
  const result = await callInPool(ioctl, fd, request, range.address)
  // The call has read the range by now; naming it here keeps it from being collected before that.
  return range.length === 0 ? -1 : result
}

/** In the thread pool. @returns 0, or the errno as a negative number */
export const blockDeviceDiscard = (fd: number, offset: number, length: number): Promise<number> =>
  rangeCall(fd, BLKDISCARD, offset, length)

/** In the thread pool. @returns 0, or the errno as a negative number */
export const blockDeviceZeroOut = (fd: number, offset: number, length: number): Promise<number> =>
  rangeCall(fd, BLKZEROOUT, offset, length)
