/**
 * A process between `ActivatedCommand` and its program: it knows the process id that the program will have, which must
 * stand in the program's environment. Its arguments are the program and its arguments; descriptor 3 is the socket, and
 * descriptor 4 a pipe on which the errno is told when the program cannot be run.
 *
 * @see sd_listen_fds(3)
 */
import * as fs from 'node:fs'
import { becomeProgram, endWithParent, setCloseOnExec } from '../syscall/exec.ts'

const SOCKET_FD = 3
const ERRNO_FD = 4

process.env['LISTEN_PID'] = String(process.pid)
process.env['LISTEN_FDS'] = '1'
delete process.env['LISTEN_FDNAMES']
// Node lets nobody inherit what it has itself, from standard input on.
for (let fd = 0; fd <= SOCKET_FD; fd++) setCloseOnExec(fd, false)
setCloseOnExec(ERRNO_FD, true)
endWithParent()
fs.writeSync(ERRNO_FD, String(becomeProgram(process.argv.slice(2))))
process.exit(127)
