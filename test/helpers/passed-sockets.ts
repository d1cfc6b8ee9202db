/** mqnbd started with listening sockets, as systemd starts a service. */
import * as net from 'node:net'
import type { Test } from 'tap'
import { closeFd } from '../../shared/syscall/fd.ts'
import { listenUnix } from '../../shared/syscall/listen.ts'
import { Launched } from './launched.ts'
import { MQNBD } from './mqnbd.ts'

/** The process has the id that the shell had. */
const WITH_OWN_PID = 'export LISTEN_PID=$$; exec "$@"'

/** A socket to be passed; `close` leaves it to those who were given it. */
export interface Passed {
  fd: number
  close: () => void
}

/** `mqnbd ARGS` with descriptors from 3 on, and told that they are for it. */
export const launchWith = (
  t: Test,
  fds: readonly number[],
  args: string[],
  env: Record<string, string> = {}
): Launched =>
  new Launched(
    t,
    'sh',
    ['-c', WITH_OWN_PID, 'sh', process.execPath, MQNBD, ...args],
    { LISTEN_FDS: String(fds.length), ...env },
    fds
  )

export function passedUnix(path: string): Passed {
  const fd = listenUnix(path)
  return { fd, close: () => closeFd(fd) }
}

export async function passedTcp(): Promise<Passed & { port: number }> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  const { fd } = (server as unknown as { _handle: { fd: number } })._handle
  return { fd, port, close: () => void server.close() }
}
