/** Requests to devices and sockets that have no call of their own. @see ioctl(2) */
import { declare } from './libc.ts'

/** @param argument an address, mostly @returns below 0 when it has failed, and `errno` tells why */
export const ioctl = declare('int ioctl(int fd, unsigned long request, uintptr_t argument)')
