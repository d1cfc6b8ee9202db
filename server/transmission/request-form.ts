/** How the requests of a connection look on the wire: compact, or with extended headers. */
import {
  NBD_CMD_DISC,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_WRITE,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC
} from '../../shared/protocol/constants.ts'
import {
  decodeExtendedRequest,
  NBD_EXTENDED_REQUEST_SIZE
} from '../../shared/protocol/messages/extended-request.ts'
import { decodeRequest, NBD_REQUEST_SIZE, type NBDRequest } from '../../shared/protocol/messages/request.ts'
import { NBD_MODE_EXTENDED, type NBDMode } from '../../shared/protocol/nbd-mode.ts'

export interface RequestForm {
  /** Of the header, in bytes. */
  readonly size: number
  readonly magic: number
  /** Of the header at `at`, all of which is there. @returns false when the magic is wrong */
  readonly decode: (buf: Buffer, at: number, request: NBDRequest) => boolean
  /** Whether `length` bytes follow the header. */
  readonly hasPayload: (request: NBDRequest) => boolean
}

const compact: RequestForm = {
  size: NBD_REQUEST_SIZE,
  magic: NBD_REQUEST_MAGIC,
  decode: decodeRequest,
  hasPayload: ({ type }) => type === NBD_CMD_WRITE
}

const extended: RequestForm = {
  size: NBD_EXTENDED_REQUEST_SIZE,
  magic: NBD_EXTENDED_REQUEST_MAGIC,
  decode: decodeExtendedRequest,
  // A flag says so, also where it must not be set. QEMU's client, up to version 10 at least, leaves it out of a WRITE; and
  // what is to be written must not be taken for requests.
  hasPayload: ({ type, flags }) =>
    type === NBD_CMD_WRITE || ((flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 && type !== NBD_CMD_DISC)
}

export const requestForm = (mode: NBDMode): RequestForm => (mode === NBD_MODE_EXTENDED ? extended : compact)
