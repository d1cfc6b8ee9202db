/** A thread that sends the same bytes without a pause, as a client in C would, and drops what comes back. */
import { Worker, isMainThread, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { closeFd, duplicateFd } from '../../shared/syscall/fd.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { recv, send } from '../../shared/syscall/socket.ts'
import type { RawClient } from './raw-client.ts'

interface FloodData {
  fd: number
  bytes: Uint8Array
  stop: Int32Array
}

/**
 * Floods over the connection of `client`, which must not be used any more.
 *
 * @returns ends it; the end of the test does, too
 */
export function flood(t: Test, client: RawClient, bytes: Buffer): () => Promise<void> {
  client.socket.pause()
  const fd = duplicateFd((client.socket as unknown as { _handle: { fd: number } })._handle.fd)
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const data: FloodData = { fd, bytes, stop }
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: data })
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const end = async (): Promise<void> => {
    if (Atomics.exchange(stop, 0, 1) === 1) return
    await ended
    closeFd(fd)
    client.socket.destroy()
  }
  t.teardown(end)
  return end
}

function run({ fd, bytes, stop }: FloodData): void {
  const out = Memory.allocate(bytes.length)
  out.buffer.set(bytes)
  const scratch = Memory.allocate(1 << 20)
  let at = 0
  while (Atomics.load(stop, 0) === 0) {
    const sent = send(fd, out.address + at, bytes.length - at)
    if (sent > 0) at = (at + sent) % bytes.length
    recv(fd, scratch.address, scratch.length)
  }
}

if (!isMainThread && typeof workerData === 'object' && workerData !== null && 'stop' in workerData) {
  run(workerData as FloodData)
}
