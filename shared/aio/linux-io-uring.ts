/**
 * Requests of a thread to the kernel, by io_uring: what the thread asks for in one go is submitted by one call.
 *
 * Results wake the loop by an eventfd; one wake-up takes all that are there.
 *
 * @see luring_co_submit in QEMU's block/io_uring.c
 */
import * as net from 'node:net'
import { systemError } from '../errors/system-error.ts'
import { closeFd, createEventFd } from '../syscall/fd.ts'
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IOUring
} from '../syscall/io-uring.ts'
import { EAGAIN, ECANCELED, EINTR } from '../syscall/libc.ts'
import type { Memory } from '../syscall/memory.ts'
import { AioContext } from './aio-context.ts'
import { openBehindStandIn } from './open-for-loop.ts'
import { atThreadEnd } from './thread-end.ts'

/** Requests at a time; more wait here. */
export const RING_ENTRIES = 512

/** What waits to be submitted with others, in bytes: from there on the device is to have its work while the thread goes on. */
const MAX_HELD = 16 * 1024
/** More than an eventfd tells (8 bytes): what does not fill the room is all there is, and libuv does not read again. */
const WAKE_UP_ROOM = 16

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
  readonly #wakeUps: net.Socket
  /** By id; what is undefined is free. */
  readonly #inFlight: (Request | undefined)[] = []
  readonly #freeIds: number[] = []
  #count = 0
  #waiting: Request[] = []
  /** What they move, in bytes, as far as they came since the last submission. */
  #held = 0
  #flushing = false
  #closed = false

  private constructor() {
    try {
      this.#wakeUps = this.#open()
    } catch (error) {
      this.#ring.close()
      throw error
    }
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

  /** @returns of the eventfd, that it reads from when there are results */
  #open(): net.Socket {
    const fd = createEventFd()
    try {
      this.#ring.registerEventFd(fd)
      const options: net.SocketConstructorOpts & { onread: net.OnReadOpts } = {
        fd,
        readable: true,
        writable: false,
        onread: { buffer: Buffer.alloc(WAKE_UP_ROOM), callback: () => this.#woken() }
      }
      return openBehindStandIn(fd, () => new net.Socket(options))
    } catch (error) {
      closeFd(fd)
      throw error
    }
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
    this.#held += request.length
    if (this.#held < MAX_HELD) this.#flushLater()
    else this.#flush()
  }

  /** Behind what else the thread asks for now. @see defer_call */
  #flushLater(): void {
    if (this.#flushing) return
    this.#flushing = true
    queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    this.#held = 0
    if (this.#closed) return
    const taken = Math.min(RING_ENTRIES - this.#count, this.#waiting.length)
    for (const request of this.#waiting.splice(0, taken)) this.#prepare(request)
    if (taken > 0 && this.#count === taken) this.#wakeUps.ref()
    // What needs no waiting is there already when they are submitted.
    this.#ring.tellEventFd(false)
    if (!this.#submit()) setImmediate(() => this.#flush())
    this.#ring.tellEventFd(true)
    this.#complete()
  }

  /**
   * A failure is the thread's and no request's: what is prepared may still reach the kernel, so nobody may have its memory back.
   *
   * @returns as IOUring.submit
   */
  #submit(): boolean {
    try {
      return this.#ring.submit()
    } catch (error) {
      setImmediate(() => {
        throw error
      })
      return true
    }
  }

  #prepare(request: Request): void {
    const { operation, flags, fd, memory, at, offset, length } = request
    const id = this.#freeIds.pop() ?? this.#inFlight.length
    this.#inFlight[id] = request
    this.#count++
    const address = memory ? memory.address + at : 0
    this.#ring.prepare(operation, fd, address, length, offset, flags, id)
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
