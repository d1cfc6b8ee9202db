import t from 'tap'
import type { RequestHeader } from '../../../../shared/protocol/messages/request.ts'
import { validateRequest, type Served } from '../../../../server/transmission/validate-request.ts'
import {
  NBD_MODE_EXTENDED,
  NBD_MODE_SIMPLE,
  NBD_MODE_STRUCTURED
} from '../../../../shared/protocol/nbd-mode.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_RESIZE,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EPERM
} from '../../../helpers/raw-constants.ts'
import { MiB } from '../../../helpers/raw-wire.ts'

const SIZE = 1024 * MiB
const served: Served = { size: SIZE, readOnly: false, mode: NBD_MODE_STRUCTURED, blockStatus: true }
const readOnly = { ...served, readOnly: true }
const simple: Served = { ...served, mode: NBD_MODE_SIMPLE, blockStatus: false }

const [READ, WRITE, FLUSH, TRIM, CACHE, ZERO, STATUS] = [
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_CACHE,
  NBD_CMD_WRITE_ZEROES,
  NBD_CMD_BLOCK_STATUS
]

type Case = [
  what: string,
  type: number,
  flags: number,
  offset: number,
  length: number,
  on: Served,
  error: number
]

const cases: Case[] = [
  ['READ', READ, 0, 0, 512, served, 0],
  ['READ of the last byte', READ, 0, SIZE - 1, 1, served, 0],
  ['READ one beyond', READ, 0, SIZE - 1, 2, served, NBD_EINVAL],
  ['READ at 2^64 - 1', READ, 0, Infinity, 1, served, NBD_EINVAL],
  ['READ of nothing at the end', READ, 0, SIZE, 0, served, 0],
  ['READ of 32 MiB', READ, 0, 0, 32 * MiB, served, 0],
  ['READ of 32 MiB + 1', READ, 0, 0, 32 * MiB + 1, served, NBD_EINVAL],
  ['READ with FUA', READ, NBD_CMD_FLAG_FUA, 0, 512, served, 0],
  ['READ with DF', READ, NBD_CMD_FLAG_DF, 0, 512, served, 0],
  ['READ with DF, simple', READ, NBD_CMD_FLAG_DF, 0, 512, simple, NBD_EINVAL],
  ['READ with NO_HOLE', READ, NBD_CMD_FLAG_NO_HOLE, 0, 512, served, NBD_EINVAL],
  ['READ with PAYLOAD_LEN', READ, NBD_CMD_FLAG_PAYLOAD_LEN, 0, 512, served, NBD_EINVAL],
  ['READ, read-only', READ, 0, 0, 512, readOnly, 0],
  ['WRITE', WRITE, 0, 0, 512, served, 0],
  ['WRITE with FUA', WRITE, NBD_CMD_FLAG_FUA, 0, 512, served, 0],
  ['WRITE one beyond', WRITE, 0, SIZE - 1, 2, served, NBD_ENOSPC],
  ['WRITE at 2^64 - 1', WRITE, 0, Infinity, 1, served, NBD_ENOSPC],
  ['WRITE of 32 MiB', WRITE, 0, 0, 32 * MiB, served, 0],
  ['WRITE of 32 MiB + 1', WRITE, 0, 0, 32 * MiB + 1, served, NBD_EINVAL],
  ['WRITE of 4 GiB - 1', WRITE, 0, 0, 0xffffffff, served, NBD_ENOSPC],
  ['WRITE with DF', WRITE, NBD_CMD_FLAG_DF, 0, 512, served, NBD_EINVAL],
  ['WRITE, read-only', WRITE, 0, 0, 512, readOnly, NBD_EPERM],
  ['WRITE one beyond, read-only', WRITE, 0, SIZE, 1, readOnly, NBD_EPERM],
  ['FLUSH', FLUSH, 0, 0, 0, served, 0],
  ['FLUSH with FUA', FLUSH, NBD_CMD_FLAG_FUA, 0, 0, served, 0],
  ['FLUSH with an offset', FLUSH, 0, 1, 0, served, NBD_EINVAL],
  ['FLUSH with a length', FLUSH, 0, 0, 1, served, NBD_EINVAL],
  ['FLUSH, read-only', FLUSH, 0, 0, 0, readOnly, 0],
  ['TRIM', TRIM, 0, 0, 512, served, 0],
  ['TRIM of all', TRIM, NBD_CMD_FLAG_FUA, 0, SIZE, served, 0],
  ['TRIM one beyond', TRIM, 0, 1, SIZE, served, NBD_EINVAL],
  ['TRIM with NO_HOLE', TRIM, NBD_CMD_FLAG_NO_HOLE, 0, 512, served, NBD_EINVAL],
  ['TRIM, read-only', TRIM, 0, 0, 512, readOnly, NBD_EPERM],
  ['CACHE of all', CACHE, NBD_CMD_FLAG_FUA, 0, SIZE, served, 0],
  ['CACHE one beyond', CACHE, 0, 1, SIZE, served, NBD_EINVAL],
  ['CACHE with DF', CACHE, NBD_CMD_FLAG_DF, 0, 512, served, NBD_EINVAL],
  ['CACHE, read-only', CACHE, 0, 0, 512, readOnly, 0],
  ['WRITE_ZEROES of all', ZERO, 0, 0, SIZE, served, 0],
  [
    'WRITE_ZEROES with its flags',
    ZERO,
    NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
    0,
    1,
    served,
    0
  ],
  ['WRITE_ZEROES one beyond', ZERO, 0, 1, SIZE, served, NBD_ENOSPC],
  ['WRITE_ZEROES with REQ_ONE', ZERO, NBD_CMD_FLAG_REQ_ONE, 0, 512, served, NBD_EINVAL],
  ['WRITE_ZEROES, read-only', ZERO, NBD_CMD_FLAG_NO_HOLE, 0, 512, readOnly, NBD_EPERM],
  ['BLOCK_STATUS of all', STATUS, 0, 0, SIZE, served, 0],
  ['BLOCK_STATUS with its flags', STATUS, NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_FUA, 0, 1, served, 0],
  ['BLOCK_STATUS one beyond', STATUS, 0, 1, SIZE, served, NBD_EINVAL],
  ['BLOCK_STATUS of nothing', STATUS, 0, 0, 0, served, NBD_EINVAL],
  ['BLOCK_STATUS without a context', STATUS, 0, 0, 512, simple, NBD_EINVAL],
  ['BLOCK_STATUS, read-only', STATUS, 0, 0, 512, readOnly, 0],
  ['RESIZE', NBD_CMD_RESIZE, 0, 0, 0, served, NBD_EINVAL],
  ['command 65535', 65535, 0, 0, 0, served, NBD_EINVAL]
]

for (const [what, type, flags, offset, length, on, error] of cases) {
  void t.test(
    `validateRequest - ${what} ${error === 0 ? 'is carried out' : `is refused by ${error}`}`,
    async (t) => {
      const request: RequestHeader = { type, flags, offset, length, cookieHigh: 1, cookieLow: 2 }
      const refused = validateRequest(request, on)
      t.equal(refused?.error ?? 0, error)
      if (refused) t.match(refused.reason, /^(NBD_CMD_\w+|command \d+): ./, 'it says what is wrong')
    }
  )
}

void t.test('validateRequest - on an export of the largest size sums stay exact', async (t) => {
  const size = Number.MAX_SAFE_INTEGER
  const read = (offset: number, length: number): RequestHeader => ({
    type: READ,
    flags: 0,
    offset,
    length,
    cookieHigh: 0,
    cookieLow: 0
  })
  t.equal(validateRequest(read(size - 1, 1), { ...served, size }), undefined)
  t.match(validateRequest(read(size, 1), { ...served, size }), { error: NBD_EINVAL })
  t.match(validateRequest(read(size - 1, 2), { ...served, size }), { error: NBD_EINVAL })
  t.match(validateRequest(read(size, 0xffffffff), { ...served, size }), { error: NBD_EINVAL })
})

void t.test('extended headers - PAYLOAD_LEN belongs to WRITE, where it may be missing', async (t) => {
  const extended: Served = { ...served, mode: NBD_MODE_EXTENDED }
  const header = { flags: 0, offset: 0, length: 512, cookieHigh: 0, cookieLow: 0 }
  for (let type = 0; type < 10; type++) {
    if (type === 2) continue
    const reason = validateRequest({ ...header, type, flags: 1 << 5 }, extended)?.reason
    if (type === 1) t.equal(reason, undefined)
    else t.match(reason, /PAYLOAD_LEN|unknown command/, `command ${type}`)
    t.match(validateRequest({ ...header, type, flags: 1 << 5 }, served)?.error, 22, `compact command ${type}`)
  }
  t.equal(validateRequest({ ...header, type: 1 }, extended), undefined)
})

void t.test(
  'extended headers - lengths are bounded by the export alone, but for READ and WRITE',
  async (t) => {
    const size = 2 ** 50
    const extended: Served = { ...served, size, mode: NBD_MODE_EXTENDED }
    const header = { flags: 0, offset: 0, length: size, cookieHigh: 0, cookieLow: 0 }
    for (const type of [4, 5, 6, 7]) {
      t.equal(validateRequest({ ...header, type }, extended), undefined)
      for (const [offset, length] of [
        [0, size + 1],
        [1, size],
        [0, Infinity],
        [Infinity, 1],
        [Infinity, Infinity],
        [2 ** 53 - 1, 2 ** 53 - 1]
      ] as const)
        t.ok(
          validateRequest({ ...header, type, offset, length }, extended),
          `${type}: ${length} at ${offset}`
        )
    }
    for (const type of [0, 1])
      t.match(validateRequest({ ...header, type }, extended)?.reason, /more than the maximum/)
  }
)
