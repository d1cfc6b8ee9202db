/**
 * A connection to an origin that has to stay in one thread, as one with TLS: a thread of its own has it, makes it again
 * when it is lost, and encrypts and decrypts for all who share it.
 */
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { reason } from '../../shared/errors/system-error.ts'
import { IOThread } from '../../shared/iothread/io-thread.ts'
import { log } from '../../shared/log/log.ts'
import { connect } from '../connect.ts'
import type { ConnectionOptions } from '../connection/open-set.ts'
import type { DiskHandle, NBDDisk } from '../nbd-disk.ts'

interface OriginOptions extends Pick<ConnectionOptions, 'openTimeoutMs' | 'reconnectDelayMs'> {
  uri: string
}

let started = 0

export class OriginThread {
  /** For `attach`, in any thread. */
  readonly handle: DiskHandle
  readonly #thread: IOThread

  private constructor(thread: IOThread, handle: DiskHandle) {
    this.#thread = thread
    this.handle = handle
  }

  /** @context main @throws NBDError as `connect` */
  static async start(options: OriginOptions): Promise<OriginThread> {
    // No id that a user gives begins so.
    const thread = await IOThread.start(`#nbd${started++}`)
    try {
      const handle = await thread.run(OPEN, options)
      thread.onFault((error) =>
        log.error({ err: error }, `the thread of the connection to '${options.uri}' died: ${reason(error)}`)
      )
      return new OriginThread(thread, handle)
    } catch (error) {
      await thread.stop()
      throw error
    }
  }

  /** Ends the connection for all who share it, when their requests are answered. */
  async close(): Promise<void> {
    // A thread that has died has no connection any more.
    await this.#thread.run(CLOSE, undefined).catch(() => undefined)
    await this.#thread.stop()
  }
}

const entry = <A, R>(name: string): EntryPoint<A, R> => ({ module: import.meta.url, name })

let disk: NBDDisk | undefined

const OPEN = entry<OriginOptions, DiskHandle>('openOrigin')
/** @context a thread of its own */
export async function openOrigin({ uri, ...options }: OriginOptions): Promise<DiskHandle> {
  disk = await connect(uri, { ...options, shareable: true })
  return disk.share()
}

const CLOSE = entry<undefined, void>('closeOrigin')
/** @context a thread of its own */
export async function closeOrigin(): Promise<void> {
  await disk?.closeAll()
}
