/**
 * `--fork`: when the server is ready, it goes on in the background, and the command ends.
 *
 * Node.js cannot fork. So the command starts itself once more, in a session of its own, and ends as that says that it is ready, or
 * as that ends.
 *
 * @see fork_process in QEMU's qemu-nbd.c
 */
import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { reason } from '../../shared/errors/system-error.ts'
import { closeFd, replaceFd } from '../../shared/syscall/fd.ts'

/** Tells the second process which one it is. */
const MARK = 'MQNBD_IN_BACKGROUND'

/** Whether this process is the one that serves. Programs that it runs are not told. */
export const inBackground = process.connected && process.env[MARK] !== undefined
Reflect.deleteProperty(process.env, MARK)

const whenLeftAlone = (): void => process.exit(1)
// Ctrl-C ends who waits for it to be ready.
if (inBackground) process.once('disconnect', whenLeftAlone)

/**
 * Starts the server, with the same command line.
 *
 * @returns the exit status, when it is ready, or has ended
 * @throws NBDError of kind `config` when it cannot be started, or is ended by a signal before it is ready
 */
export function startInBackground(): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, [MARK]: '1' }
    })
    child.once('error', (error) => reject(configError(`--fork: ${reason(error)}`, error)))
    child.once('message', () => resolve(0))
    child.once('exit', (status, signal) => {
      if (status === null) reject(new NBDError('config', `--fork: ${signal} has ended the server`))
      else resolve(status)
    })
  })
}

/**
 * The server is ready: whoever has started it, and reads what it prints, need not wait any longer.
 *
 * @param keepsLog whoever reads standard error goes on
 */
export function leaveForeground(keepsLog: boolean): void {
  process.removeListener('disconnect', whenLeftAlone)
  const nowhere = fs.openSync('/dev/null', 'r+')
  replaceFd(process.stdout.fd, nowhere)
  if (!keepsLog) replaceFd(process.stderr.fd, nowhere)
  closeFd(nowhere)
  process.send!('ready', () => process.disconnect())
}
