import { constants } from 'node:os'
import t from 'tap'
import { nbdErrno } from '../../../../shared/protocol/errno-map.ts'
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN
} from '../../../helpers/raw-constants.ts'

const ESHUTDOWN = 108
const { errno } = constants

for (const [what, system, wire] of [
  ['EPERM', errno.EPERM, NBD_EPERM],
  ['EACCES', errno.EACCES, NBD_EPERM],
  ['EROFS', errno.EROFS, NBD_EPERM],
  ['EIO', errno.EIO, NBD_EIO],
  ['ENOMEM', errno.ENOMEM, NBD_ENOMEM],
  ['EINVAL', errno.EINVAL, NBD_EINVAL],
  ['ENOSPC', errno.ENOSPC, NBD_ENOSPC],
  ['EDQUOT', errno.EDQUOT, NBD_ENOSPC],
  ['EFBIG', errno.EFBIG, NBD_ENOSPC],
  ['ESHUTDOWN', ESHUTDOWN, NBD_ESHUTDOWN],
  ['ENOENT, which the protocol does not know', errno.ENOENT, NBD_EINVAL],
  ['EAGAIN, which the protocol does not know', errno.EAGAIN, NBD_EINVAL],
  ['a number that is no errno', 9999, NBD_EINVAL]
] as const) {
  void t.test(`R32 - ${what} becomes ${wire}, whatever the request`, async (t) => {
    for (const [enotsup, eoverflow] of [
      [false, false],
      [true, false],
      [false, true],
      [true, true]
    ]) {
      t.equal(nbdErrno(system, enotsup, eoverflow), wire)
    }
  })
}

void t.test('R32 - ENOTSUP is for FAST_ZERO only, and else EINVAL', async (t) => {
  for (const system of [errno.ENOTSUP, errno.EOPNOTSUPP]) {
    t.equal(nbdErrno(system, true), NBD_ENOTSUP)
    t.equal(nbdErrno(system), NBD_EINVAL)
    t.equal(nbdErrno(system, false, true), NBD_EINVAL)
  }
})

void t.test('R32 - EOVERFLOW is for DF only, and else EINVAL', async (t) => {
  t.equal(nbdErrno(errno.EOVERFLOW, false, true), NBD_EOVERFLOW)
  t.equal(nbdErrno(errno.EOVERFLOW), NBD_EINVAL)
  t.equal(nbdErrno(errno.EOVERFLOW, true), NBD_EINVAL)
})

void t.test(
  'errno map - no errno of this system becomes success, or a value that the protocol does not know',
  async (t) => {
    const known = [1, 5, 12, 22, 28, 75, 95, 108]
    for (const [name, value] of Object.entries(errno)) {
      for (const may of [false, true]) t.ok(known.includes(nbdErrno(value, may, may)), name)
    }
  }
)
