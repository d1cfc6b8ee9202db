/**
 * What a client may be waiting for in the stream of replies. Each state needs some bytes before it can be left, and
 * takes them all at once, except for the two that take what there is.
 *
 *   REPLY ──simple──> DATA ──> REPLY            a successful READ without structured replies
 *     ├─────simple──> REPLY                     anything else
 *     └──chunk──┬──> REPLY                      NONE
 *               ├──> OFFSET ──> DATA ──> REPLY  OFFSET_DATA
 *               ├──> HOLE ──> REPLY             OFFSET_HOLE
 *               ├──> CONTEXT ──> EXTENTS ──> REPLY   BLOCK_STATUS, BLOCK_STATUS_EXT
 *               └──> ERROR ──> REPLY            any error chunk, known or not
 *
 * @see generator/states-reply*.c of libnbd
 */

/** A reply's magic, and then the rest of its header. */
export const STATE_REPLY = 0
/** Data of a READ, in any pieces. */
export const STATE_DATA = 1
/** Where the data of an OFFSET_DATA chunk belong: 8 bytes. */
export const STATE_OFFSET = 2
/** Payload of an OFFSET_HOLE chunk: 12 bytes. */
export const STATE_HOLE = 3
/** What is in front of a status chunk's extents: the id, 4 bytes; with extended headers also their number, 8 bytes. */
export const STATE_CONTEXT = 4
/** Extents of 8 bytes, with extended headers 16, in any number. */
export const STATE_EXTENTS = 5
/** All of the payload of an error chunk. */
export const STATE_ERROR = 6

export type ReplyState =
  | typeof STATE_REPLY
  | typeof STATE_DATA
  | typeof STATE_OFFSET
  | typeof STATE_HOLE
  | typeof STATE_CONTEXT
  | typeof STATE_EXTENTS
  | typeof STATE_ERROR
