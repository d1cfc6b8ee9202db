/**
 * `--object iothread,id=io0`: a thread with an event loop, for exports to be bound to.
 *
 * @see QEMU's iothread.c
 */
import { configError } from '../errors/nbd-error.ts'
import { IOThread } from '../iothread/io-thread.ts'
import { ioThreadOptions, type IOThreadProperties } from '../iothread/io-thread-properties.ts'
import type { ObjectTable } from './object-table.ts'
import { registerObjectType, type UserObject } from './object-type.ts'

class IOThreadObject implements UserObject {
  readonly type = 'iothread'
  readonly id: string
  readonly thread: IOThread

  constructor(thread: IOThread) {
    this.id = thread.id
    this.thread = thread
  }

  get(property: string): unknown {
    return this.thread.info()[property as keyof IOThreadProperties]
  }

  set(property: string, value: unknown): Promise<void> {
    return this.thread.set({ [property]: value })
  }

  close(): Promise<void> {
    return this.thread.stop()
  }
}

registerObjectType({
  name: 'iothread',
  options: ioThreadOptions,
  settable: Object.keys(ioThreadOptions),
  readable: ['thread-id'],
  create: async (id, options) => new IOThreadObject(await IOThread.start(id, options))
})

/**
 * The IOThread of this id.
 *
 * @param what names the option, for messages
 * @throws NBDError of kind `config` when there is none
 */
export function findIOThread(objects: ObjectTable, id: string, what: string): IOThread {
  const object = objects.find(id, what)
  if (!(object instanceof IOThreadObject)) {
    throw configError(`${what}: '${id}' is an object of type ${object.type}, not an iothread`)
  }
  return object.thread
}
