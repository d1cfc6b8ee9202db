/**
 * How far a client has come, in order, so that code can say `mode >= NBD_MODE_STRUCTURED`.
 *
 * @see NBDMode in QEMU's include/block/nbd.h
 */
export const NBD_MODE_SIMPLE = 0
export const NBD_MODE_STRUCTURED = 1

export type NBDMode = typeof NBD_MODE_SIMPLE | typeof NBD_MODE_STRUCTURED
