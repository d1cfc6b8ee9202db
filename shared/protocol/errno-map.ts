/**
 * The one place where an errno of this system becomes an error value of the protocol.
 *
 * @see doc/proto.md "Error values"; system_errno_to_nbd_errno in QEMU's nbd/server.c
 */
import { constants } from 'node:os'
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN
} from './constants.ts'

const { errno } = constants

const toWire = new Map<number, number>([
  [errno.EPERM, NBD_EPERM],
  [errno.EACCES, NBD_EPERM],
  [errno.EROFS, NBD_EPERM],
  [errno.EIO, NBD_EIO],
  [errno.ENXIO, NBD_EIO],
  [errno.ENODEV, NBD_EIO],
  [errno.ESTALE, NBD_EIO],
  [errno.ETIMEDOUT, NBD_EIO],
  [errno.ENOMEM, NBD_ENOMEM],
  [errno.EINVAL, NBD_EINVAL],
  [errno.ENOSPC, NBD_ENOSPC],
  [errno.EDQUOT, NBD_ENOSPC],
  [errno.EFBIG, NBD_ENOSPC],
  [errno.EOVERFLOW, NBD_EOVERFLOW],
  [errno.ENOTSUP, NBD_ENOTSUP],
  [errno.EOPNOTSUPP, NBD_ENOTSUP],
  [108 /* ESHUTDOWN, which node:os does not list */, NBD_ESHUTDOWN]
])

/**
 * What an I/O error of this system is called on the wire.
 *
 * @param systemErrno positive errno
 * @param mayEnotsup true for WRITE_ZEROES with FAST_ZERO, the only request that may be answered by ENOTSUP
 * @param mayEoverflow true for READ with DF, the only request that may be answered by EOVERFLOW
 * @returns an NBD_E value; an errno that the protocol has no word for becomes NBD_EINVAL
 */
export function nbdErrno(systemErrno: number, mayEnotsup = false, mayEoverflow = false): number {
  const wire = toWire.get(systemErrno) ?? NBD_EINVAL
  if (wire === NBD_ENOTSUP && !mayEnotsup) return NBD_EINVAL
  if (wire === NBD_EOVERFLOW && !mayEoverflow) return NBD_EINVAL
  return wire
}
