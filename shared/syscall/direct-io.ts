/**
 * What O_DIRECT asks of requests for a file.
 *
 * @see open(2), "O_DIRECT"; raw_probe_alignment in QEMU's block/file-posix.c
 */
import { preadSync } from './file-io.ts'
import { declare, EINVAL } from './libc.ts'
import { Memory } from './memory.ts'

const statx = declare('int statx(int dirfd, const char *path, int flags, unsigned int mask, uintptr_t stat)')

const AT_EMPTY_PATH = 0x1000
const STATX_DIOALIGN = 0x2000
// struct statx: 4 mask at 0; 4 dio_mem_align at 152; 4 dio_offset_align at 156
const DIO_MEM_ALIGN = 152
const DIO_OFFSET_ALIGN = 156
const STATX_SIZE = 256

const SECTOR_SIZE = 512
const PAGE_SIZE = 4096

export interface DirectAlignment {
  /** Of addresses, in bytes. */
  memory: number
  /** Of offsets and lengths. */
  request: number
}

/**
 * @param fd opened with O_DIRECT
 * @returns powers of two; undefined when the file knows no O_DIRECT although it could be opened so
 */
export function directAlignment(fd: number): DirectAlignment | undefined {
  const told = toldAlignment(fd)
  if (!told) return { memory: PAGE_SIZE, request: probedAlignment(fd) }
  return told.request === 0 ? undefined : told
}

/** What the kernel tells, from Linux 6.1 on and for some file systems. */
function toldAlignment(fd: number): DirectAlignment | undefined {
  const stat = Memory.allocate(STATX_SIZE)
  stat.buffer.fill(0, 0, STATX_SIZE)
  if (statx(fd, '', AT_EMPTY_PATH, STATX_DIOALIGN, stat.address) !== 0) return undefined
  if ((stat.buffer.readUInt32LE(0) & STATX_DIOALIGN) === 0) return undefined
  return {
    memory: stat.buffer.readUInt32LE(DIO_MEM_ALIGN),
    request: stat.buffer.readUInt32LE(DIO_OFFSET_ALIGN)
  }
}

/** The shortest read that is not refused for its length. A page always works, but where sectors are longer. */
function probedAlignment(fd: number): number {
  const memory = Memory.allocate(PAGE_SIZE, PAGE_SIZE)
  for (let length = SECTOR_SIZE; length < PAGE_SIZE; length *= 2) {
    if (preadSync(fd, memory.address, length, 0) !== -EINVAL) return length
  }
  return PAGE_SIZE
}
