/**
 * A pair of rings that requests go to the kernel by, and their results come back by. For one thread.
 *
 * @see io_uring(7), io_uring_setup(2), io_uring_enter(2); struct io_uring_sqe and io_uring_cqe in linux/io_uring.h
 */
import { systemError } from '../errors/system-error.ts'
import { closeFd } from './fd.ts'
import { wordsOf } from './iovec.ts'
import { declare, EAGAIN, EBUSY, EINTR, EINVAL, errno, viewMemory } from './libc.ts'
import { Memory } from './memory.ts'
import { mmap, munmap } from './mmap.ts'

// glibc has no wrappers; the numbers are the same on every architecture.
const setup = declare('int64_t syscall(int64_t number, uint32_t entries, uintptr_t params)')
const enter = declare(
  'int64_t syscall(int64_t number, int fd, uint32_t submit, uint32_t complete, uint32_t flags, uintptr_t mask, size_t size)'
)
const register = declare(
  'int64_t syscall(int64_t number, int fd, uint32_t operation, uintptr_t argument, uint32_t count)'
)
const SYS_IO_URING_SETUP = 425
const SYS_IO_URING_ENTER = 426
const SYS_IO_URING_REGISTER = 427

const PROT_READ_WRITE = 3
const MAP_SHARED_POPULATE = 0x8001
const OFFSET_RINGS = 0
const OFFSET_SQES = 0x10000000

export const IORING_OP_FSYNC = 3
export const IORING_OP_READ = 22
export const IORING_OP_WRITE = 23
export const IORING_FSYNC_DATASYNC = 1

/** What is done by the thread itself need not interrupt it. Linux 5.19. */
const IORING_SETUP_COOP_TASKRUN = 0x100
const IORING_FEAT_SINGLE_MMAP = 1
const IORING_ENTER_GETEVENTS = 1
const IORING_SQ_CQ_OVERFLOW = 2
const IORING_CQ_EVENTFD_DISABLED = 1
const IORING_REGISTER_EVENTFD = 4

// struct io_uring_params, in words of 32 bits: the numbers of entries, flags, features; then the offsets of the rings' parts
const SQ_ENTRIES = 0
const CQ_ENTRIES = 1
const FLAGS = 2
const FEATURES = 5
const SQ_OFFSETS = 10
const CQ_OFFSETS = 20
const PARAMS_SIZE = 120
// Of struct io_sqring_offsets and io_cqring_offsets:
const HEAD = 0
const TAIL = 1
const SQ_FLAGS = 4
const SQ_ARRAY = 6
const CQ_CQES = 5
const CQ_FLAGS = 6

const SQE_WORDS = 16
const CQE_WORDS = 4
const WORD = Uint32Array.BYTES_PER_ELEMENT

interface Mapping {
  address: number
  length: number
  words: Int32Array
}

function map(fd: number, length: number, offset: number): Mapping {
  const address = mmap(0, length, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, offset)
  if (address === -1) throw systemError(errno(), 'mmap')
  return { address, length, words: new Int32Array(viewMemory(address, length)) }
}

export class IOUring {
  /** Requests that can be prepared before they are submitted. */
  readonly entries: number
  /** Results that can wait to be taken. */
  readonly results: number
  readonly #fd: number
  readonly #rings: Mapping
  readonly #sqes: Mapping
  // Places in the words of the rings:
  readonly #sqTail: number
  readonly #sqFlags: number
  readonly #cqHead: number
  readonly #cqTail: number
  readonly #cqes: number
  /** 0 where there are none. */
  readonly #cqFlags: number
  #tail = 0
  #head = 0
  #prepared = 0

  /**
   * @param entries a power of two
   * @throws NBDError of kind `request`: ENOSYS or EPERM where there is no io_uring, or none for us
   */
  constructor(entries: number) {
    const { fd, words } = setUp(entries)
    this.#fd = fd
    this.entries = words[SQ_ENTRIES]!
    this.results = words[CQ_ENTRIES]!
    const sq = (part: number): number => words[SQ_OFFSETS + part]!
    const cq = (part: number): number => words[CQ_OFFSETS + part]!
    this.#sqTail = sq(TAIL) / WORD
    this.#sqFlags = sq(SQ_FLAGS) / WORD
    this.#cqHead = cq(HEAD) / WORD
    this.#cqTail = cq(TAIL) / WORD
    this.#cqes = cq(CQ_CQES) / WORD
    this.#cqFlags = cq(CQ_FLAGS) / WORD
    const length = Math.max(sq(SQ_ARRAY) + this.entries * WORD, cq(CQ_CQES) + this.results * CQE_WORDS * WORD)
    try {
      this.#rings = map(fd, length, OFFSET_RINGS)
      this.#sqes = map(fd, this.entries * SQE_WORDS * WORD, OFFSET_SQES)
    } catch (error) {
      closeFd(fd)
      throw error
    }
    // Each place of the ring is an entry of its own, once and for all.
    const array = sq(SQ_ARRAY) / WORD
    for (let i = 0; i < this.entries; i++) this.#rings.words[array + i] = i
  }

  /**
   * Prepares a request, which the kernel sees at the next `submit`. No more than there are entries.
   *
   * @param address of memory that is the kernel's until the result is there; for FSYNC it is not used
   * @param operationFlags IORING_FSYNC_DATASYNC
   * @param id of the result, not negative
   */
  prepare(
    operation: number,
    fd: number,
    address: number,
    length: number,
    offset: number,
    operationFlags: number,
    id: number
  ): void {
    const { words } = this.#sqes
    const at = (this.#tail & (this.entries - 1)) * SQE_WORDS
    // 1 opcode, 3 that stay 0; 4 fd; 8 off; 8 addr; 4 len; 4 flags of the operation; 8 user_data; 24 that stay 0
    words[at] = operation
    words[at + 1] = fd
    words[at + 2] = offset
    words[at + 3] = offset / 2 ** 32
    words[at + 4] = address
    words[at + 5] = address / 2 ** 32
    words[at + 6] = length
    words[at + 7] = operationFlags
    words[at + 8] = id
    this.#tail = (this.#tail + 1) | 0
    this.#prepared++
  }

  /**
   * An eventfd that is told of results.
   *
   * @param fd the ring has it open until it is closed
   * @throws NBDError of kind `request`
   * @see io_uring_register(2), IORING_REGISTER_EVENTFD
   */
  registerEventFd(fd: number): void {
    const argument = Memory.allocate(WORD)
    argument.buffer.writeInt32LE(fd)
    if (register(SYS_IO_URING_REGISTER, this.#fd, IORING_REGISTER_EVENTFD, argument.address, 1) < 0)
      throw systemError(errno(), 'io_uring_register')
  }

  /**
   * Whether the eventfd is told of what ends from now on. What has ended in the meantime is to be taken then. Kernels before
   * 5.8 tell it always.
   *
   * @see io_uring_cq_eventfd_toggle
   */
  tellEventFd(tell: boolean): void {
    if (this.#cqFlags > 0)
      Atomics.store(this.#rings.words, this.#cqFlags, tell ? 0 : IORING_CQ_EVENTFD_DISABLED)
  }

  /**
   * Submits what is prepared, and waits for results if asked to.
   *
   * @param least results to wait for
   * @returns whether all was submitted; the rest stays prepared, for lack of the kernel's memory
   * @throws NBDError of kind `request` when it cannot be
   */
  submit(least = 0): boolean {
    if (this.#prepared === 0 && least === 0) return true
    Atomics.store(this.#rings.words, this.#sqTail, this.#tail)
    const overflown = (Atomics.load(this.#rings.words, this.#sqFlags) & IORING_SQ_CQ_OVERFLOW) !== 0
    const flags = least > 0 || overflown ? IORING_ENTER_GETEVENTS : 0
    for (;;) {
      const n = enter(SYS_IO_URING_ENTER, this.#fd, this.#prepared, least, flags, 0, 0)
      const e = n < 0 ? errno() : 0
      if (n >= 0) this.#prepared -= n
      else if (e === EAGAIN || e === EBUSY) return false
      else if (e !== EINTR) throw systemError(e, 'io_uring_enter')
      // A request that is refused ends a call early.
      if (this.#prepared === 0 && n >= 0) return true
    }
  }

  /**
   * Takes the results that are there.
   *
   * @param take is called with the id of each request, and bytes or the errno as a negative number
   */
  complete(take: (id: number, result: number) => void): void {
    const { words } = this.#rings
    const mask = this.results - 1
    while (this.#head !== Atomics.load(words, this.#cqTail)) {
      // 8 user_data, 4 res, 4 flags
      const at = this.#cqes + (this.#head & mask) * CQE_WORDS
      const id = words[at]!
      const result = words[at + 2]!
      this.#head = (this.#head + 1) | 0
      Atomics.store(words, this.#cqHead, this.#head)
      take(id, result)
    }
  }

  /** Gives it back. No request may be under way: the kernel would go on with it. */
  close(): void {
    munmap(this.#rings.address, this.#rings.length)
    munmap(this.#sqes.address, this.#sqes.length)
    closeFd(this.#fd)
  }
}

/** @returns its descriptor, and struct io_uring_params as the kernel has filled it in */
function setUp(entries: number): { fd: number; words: Uint32Array } {
  const params = Memory.allocate(PARAMS_SIZE)
  const words = wordsOf(params)
  let fd = -1
  for (const flags of [IORING_SETUP_COOP_TASKRUN, 0]) {
    words.fill(0, 0, PARAMS_SIZE / WORD)
    words[FLAGS] = flags
    fd = setup(SYS_IO_URING_SETUP, entries, params.address)
    if (fd >= 0 || errno() !== EINVAL) break
  }
  if (fd < 0) throw systemError(errno(), 'io_uring_setup')
  if ((words[FEATURES]! & IORING_FEAT_SINGLE_MMAP) !== 0) return { fd, words }
  closeFd(fd)
  throw systemError(EINVAL, 'io_uring of a kernel before 5.4')
}
