/**
 * Listening sockets that this process was started with: by systemd, by libnbd, or by mqnbd's own client.
 *
 * @see sd_listen_fds(3); nbdkit-service(1); nbd_connect_systemd_socket_activation(3)
 */
import { configError } from '../../shared/errors/nbd-error.ts'
import { setCloseOnExec } from '../../shared/syscall/exec.ts'
import { isListening } from '../../shared/syscall/socket.ts'

/** @see SD_LISTEN_FDS_START */
const FIRST_FD = 3
/** As many as a process may have open, if nobody has asked for more. */
const MAX_FDS = 1024

/**
 * How many sockets there are; 0 when there are none, or when they are for a process that has started this one.
 *
 * @throws NBDError of kind `config` when their number is none
 */
export function activatedSockets(env = process.env): number {
  const { LISTEN_PID: pid, LISTEN_FDS: count = '0' } = env
  if (pid !== String(process.pid)) return 0
  if (/^\d+$/.test(count) && Number(count) <= MAX_FDS) return Number(count)
  throw configError(`LISTEN_FDS: '${count}' is not a number of sockets from 0 to ${MAX_FDS}`)
}

/**
 * Takes the sockets over. Programs that this one runs get neither them nor the variables that tell of them.
 *
 * @context main
 * @returns descriptors, the caller's
 * @throws NBDError of kind `config` when one is no socket that clients can be accepted from
 */
export function takeActivatedSockets(env = process.env): number[] {
  const fds = Array.from({ length: activatedSockets(env) }, (_, i) => FIRST_FD + i)
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete env[name]
  for (const fd of fds) {
    if (!isListening(fd))
      throw configError(`LISTEN_FDS: descriptor ${fd} is not a listening TCP or Unix socket`)
    setCloseOnExec(fd, true)
  }
  return fds
}
