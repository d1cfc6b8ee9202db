/** What a server says that an export can do, in nbdinfo's words. */
import {
  BASE_ALLOCATION,
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES
} from '../shared/protocol/constants.ts'
import type { Negotiated } from './negotiation/negotiated.ts'

export interface NBDFlags {
  readonly readOnly: boolean
  readonly rotational: boolean
  /** `blockStatus` tells about base:allocation. */
  readonly canBlockStatus: boolean
  /** The server would tell of some of the contexts only, if it were asked to. */
  readonly canBlockStatusPayload: boolean
  readonly canCache: boolean
  readonly canDf: boolean
  /** `zero` takes `fast`. */
  readonly canFastZero: boolean
  readonly canFlush: boolean
  /** Writes take `fua`. */
  readonly canFua: boolean
  /** Several connections see each other's flushed writes. */
  readonly canMultiConn: boolean
  readonly canTrim: boolean
  readonly canZero: boolean
}

export function flagsOf({ flags, contexts }: Pick<Negotiated, 'flags' | 'contexts'>): NBDFlags {
  const has = (flag: number): boolean => (flags & flag) !== 0
  return {
    readOnly: has(NBD_FLAG_READ_ONLY),
    rotational: has(NBD_FLAG_ROTATIONAL),
    canBlockStatus: [...contexts.values()].includes(BASE_ALLOCATION),
    canBlockStatusPayload: has(NBD_FLAG_BLOCK_STATUS_PAYLOAD),
    canCache: has(NBD_FLAG_SEND_CACHE),
    canDf: has(NBD_FLAG_SEND_DF),
    canFastZero: has(NBD_FLAG_SEND_FAST_ZERO),
    canFlush: has(NBD_FLAG_SEND_FLUSH),
    canFua: has(NBD_FLAG_SEND_FUA),
    canMultiConn: has(NBD_FLAG_CAN_MULTI_CONN),
    canTrim: has(NBD_FLAG_SEND_TRIM),
    canZero: has(NBD_FLAG_SEND_WRITE_ZEROES)
  }
}
