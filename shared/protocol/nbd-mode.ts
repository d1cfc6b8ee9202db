/**
 * What was negotiated about requests and replies, in order, so that code can say `mode >= NBD_MODE_STRUCTURED`.
 *
 * @see NBDMode in QEMU's include/block/nbd.h
 */

/** Compact requests, simple replies. */
export const NBD_MODE_SIMPLE = 0
/** Compact requests; replies may come in chunks. */
export const NBD_MODE_STRUCTURED = 1
/** Requests and replies with extended headers; replies come in chunks. */
export const NBD_MODE_EXTENDED = 2

export type NBDMode = typeof NBD_MODE_SIMPLE | typeof NBD_MODE_STRUCTURED | typeof NBD_MODE_EXTENDED

/** The names that users know, nbdinfo's, each at its mode. */
export const NBD_PACKETS = ['simple', 'structured', 'extended'] as const

export type NBDPackets = (typeof NBD_PACKETS)[number]
