/**
 * Requests of a thread to the kernel, by io_uring: what the thread asks for in one go is submitted by one call.
 *
 * A result wakes the loop by a byte in a pipe, which the kernel writes when the request has ended: node:net can wait for
 * a pipe, and for no eventfd.
 *
 * @see luring_co_submit in QEMU's block/io_uring.c
 */
import * as net from 'node:net'
import { systemError } from '../errors/system-error.ts'
import { closeFd, duplicateFd } from '../syscall/fd.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IOSQE_CQE_SKIP_SUCCESS,
  IOSQE_IO_HARDLINK,
  IOUring
} from '../syscall/io-uring.ts'
import { EAGAIN, ECANCELED, EINTR } from '../syscall/libc.ts'
import { Memory } from '../syscall/memory.ts'
import { createPipe } from '../syscall/pipe.ts'
import { AioContext } from './aio-context.ts'
import { atThreadEnd } from './thread-end.ts'

/** At a time; more wait here. */
const MAX_IN_FLIGHT = 256
/** What is asked for, and the wake-up behind it. */
export const RING_ENTRIES = 2 * MAX_IN_FLIGHT
/** Of what only wakes the loop. */
const NO_ID = -1

/** What is to be done, and who waits for it. */
interface Request {
  operation: number
  flags: number
  fd: number
  /** The kernel's until the result is there; undefined for fdatasync. */
  memory: Memory | undefined
  at: number
  offset: number
  length: number
  resolve: (result: number) => void
  reject: (error: Error) => void
}

/** For messages. */
const names = new Map([
  [IORING_OP_READ, 'read'],
  [IORING_OP_WRITE, 'write'],
  [IORING_OP_FSYNC, 'fdatasync']
])

let current: LinuxIOUring | undefined

export class LinuxIOUring {
  readonly #context = AioContext.current()
  readonly #ring = new IOUring(RING_ENTRIES)
  readonly #pipe = createPipe()
  readonly #wakeUps: net.Socket
  readonly #byte = Memory.allocate(1)
  readonly #wakeFlags: number
  /** By id; what is undefined is free. */
  readonly #inFlight: (Request | undefined)[] = []
  readonly #freeIds: number[] = []
  #count = 0
  #waiting: Request[] = []
  #flushing = false
  #closed = false

  private constructor() {
    this.#wakeFlags = this.#ring.canSkip ? IOSQE_CQE_SKIP_SUCCESS : 0
    const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
      // The socket closes it when the thread ends; until then nobody writes to a pipe without a reader.
      fd: duplicateFd(this.#pipe.readFd),
      readable: true,
      writable: false,
      onread: { buffer: Buffer.alloc(RING_ENTRIES), callback: () => this.#woken() }
    }
    this.#wakeUps = new net.Socket(options)
    this.#wakeUps.resume()
    this.#wakeUps.unref()
    atThreadEnd(() => this.#close())
  }

  /**
   * That of the calling thread.
   *
   * @throws NBDError of kind `request`: ENOSYS or EPERM where there is no io_uring, or none for us
   * @see aio_setup_linux_io_uring
   */
  static current(): LinuxIOUring {
    return (current ??= new LinuxIOUring())
  }

  /**
   * @param memory to read into from `at` on, the callee's until the promise settles
   * @returns bytes; rejects with an NBDError of kind `request`
   */
  read(fd: number, memory: Memory, at: number, offset: number, length: number): Promise<number> {
    return this.#start(IORING_OP_READ, fd, memory, at, offset, length)
  }

  /** As `read`. @param memory to write from `at` on */
  write(fd: number, memory: Memory, at: number, offset: number, length: number): Promise<number> {
    return this.#start(IORING_OP_WRITE, fd, memory, at, offset, length)
  }

  async fdatasync(fd: number): Promise<void> {
    await this.#start(IORING_OP_FSYNC, fd, undefined, 0, 0, 0, IORING_FSYNC_DATASYNC)
  }

  #start(
    operation: number,
    fd: number,
    memory: Memory | undefined,
    at: number,
    offset: number,
    length: number,
    flags = 0
  ): Promise<number> {
    return new Promise((resolve, reject) =>
      this.#queue({ operation, flags, fd, memory, at, offset, length, resolve, reject })
    )
  }

  #queue(request: Request): void {
    if (this.#closed) {
      refuse(request, ECANCELED)
      return
    }
    this.#waiting.push(request)
    this.#flushLater()
  }

  /** Behind what else the thread asks for now. @see defer_call */
  #flushLater(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    if (this.#closed) return
    const taken = Math.min(MAX_IN_FLIGHT - this.#count, this.#waiting.length)
    for (const request of this.#waiting.splice(0, taken)) this.#prepare(request)
    if (taken > 0 && this.#count === taken) this.#wakeUps.ref()
    if (!this.#ring.submit()) setImmediate(() => this.#flush())
    // What needed no waiting is there already.
    this.#complete()
  }

  #prepare(request: Request): void {
    const { operation, flags, fd, memory, at, offset, length } = request
    const id = this.#freeIds.pop() ?? this.#inFlight.length
    this.#inFlight[id] = request
    this.#count++
    const address = memory ? memory.address + at : 0
    this.#ring.prepare(operation, IOSQE_IO_HARDLINK, fd, address, length, offset, flags, id)
    // Of what ends at once nobody has to be told; but that is not known before.
    this.#ring.prepare(
      IORING_OP_WRITE,
      this.#wakeFlags,
      this.#pipe.writeFd,
      this.#byte.address,
      1,
      0,
      0,
      NO_ID
    )
  }

  /** @returns that node:net is to go on */
  #woken(): boolean {
    if (this.#closed) return true
    this.#context.enterHandler()
    this.#complete()
    this.#context.leaveHandler()
    return true
  }

  #complete(): void {
    const before = this.#count
    this.#ring.complete(this.#ended)
    if (before > 0 && this.#count === 0) this.#wakeUps.unref()
    if (this.#waiting.length > 0 && this.#count < before) this.#flushLater()
  }

  readonly #ended = (id: number, result: number): void => {
    if (id < 0) return
    const request = this.#inFlight[id]!
    this.#inFlight[id] = undefined
    this.#freeIds.push(id)
    this.#count--
    // @see luring_process_completions
    if (result === -EINTR || result === -EAGAIN) setImmediate(() => this.#queue(request))
    else if (result < 0) refuse(request, -result)
    else request.resolve(result)
  }

  /** The thread ends: what is under way in the kernel is waited for, and nothing more begins. */
  #close(): void {
    this.#closed = true
    for (const request of this.#waiting.splice(0)) refuse(request, ECANCELED)
    while (this.#count > 0) {
      this.#ring.submit(1)
      this.#ring.complete(this.#ended)
    }
    this.#ring.close()
    this.#wakeUps.destroy()
    closeFd(this.#pipe.readFd)
    closeFd(this.#pipe.writeFd)
    if (current === this) current = undefined
  }
}

const refuse = ({ reject, operation }: Request, errno: number): void =>
  reject(systemError(errno, names.get(operation)!))

/**
 * Whether this process may use io_uring.
 *
 * @throws NBDError of kind `request` that says why not
 */
export function checkIOUring(): void {
  new IOUring(2).close()
}
