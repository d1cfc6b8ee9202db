/** What the threads of channel-shared-socket.test.ts do with their views of a socket. */
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import type { ShutdownMode } from '../../../../shared/io/channel.ts'
import { QIOChannelSocket, type SocketHandle } from '../../../../shared/io/channel-socket.ts'
import { iovecs } from './channel-validator.ts'

let view: QIOChannelSocket | undefined

export function attach(handle: SocketHandle): void {
  view = QIOChannelSocket.attach(handle)
}

/** Reads until it has a byte, or the stream ends. @returns how that ended */
export function read(): Promise<string> {
  return Coroutine.start(() => view!.readvAllEof(iovecs(1, 1))).then(
    (isThere) => (isThere ? 'a byte' : 'the end'),
    (error: Error) => error.message
  )
}

/** Writes more than there is room for. @returns how that ended */
export function write(): Promise<string> {
  return Coroutine.start(() => view!.writevAll(iovecs(1, 16 << 20))).then(
    () => 'written',
    (error: Error) => error.message
  )
}

/** Resolves when the thread's loop has turned a few times: whoever was started before waits by now. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

export function shutdown(mode: ShutdownMode): void {
  view!.shutdown(mode)
}

export async function close(): Promise<void> {
  await view!.close()
}
