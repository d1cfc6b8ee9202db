/** Becoming another program. */
import { constants } from 'node:os'
import { declare, errno } from './libc.ts'

const execvp = declare('int execvp(const char *file, const char **argv)')
const fcntl = declare('int fcntl(int fd, int command, int argument)')
const prctl = declare('int prctl(int option, unsigned long argument)')
const signal = declare('uintptr_t signal(int number, uintptr_t handler)')

const F_SETFD = 2
const FD_CLOEXEC = 1
const PR_SET_PDEATHSIG = 1
const SIG_DFL = 0

/** Whether a descriptor is closed when another program takes this process over. @see fcntl(2), FD_CLOEXEC */
export function setCloseOnExec(fd: number, on: boolean): void {
  fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0)
}

/** Ends this process, whatever program it is by then, with the thread that started it. @see PR_SET_PDEATHSIG(2const) */
export function endWithParent(): void {
  prctl(PR_SET_PDEATHSIG, constants.signals.SIGTERM)
}

/**
 * Puts another program in the place of this one, with the environment and the descriptors that there are.
 *
 * @param argv the program, found by PATH, and its arguments
 * @returns only when that failed: the errno
 * @see execvp(3)
 */
export function becomeProgram(argv: readonly string[]): number {
  // Node ignores it, which would be inherited.
  signal(constants.signals.SIGPIPE, SIG_DFL)
  execvp(argv[0]!, [...argv, null])
  return errno()
}
