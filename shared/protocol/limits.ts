/**
 * Every bound that a number from the wire is compared with before anything is allocated or waited for,
 * and the reason for it.
 */

const KiB = 1024
const MiB = 1024 * KiB

/** Names, descriptions, contexts and error texts, in bytes. The specification's own bound ("Values", strings). */
export const NBD_MAX_STRING_SIZE = 4096

/** READ and WRITE lengths: what a client may send without having asked for block sizes ("Size constraints"). */
export const NBD_MAX_BUFFER_SIZE = 32 * MiB

/**
 * A WRITE payload above NBD_MAX_BUFFER_SIZE is read and dropped, and answered by an error, up to this
 * length; beyond it the peer is disconnected. nbdkit draws the same line at 128 MiB. With extended headers
 * NBD_MAX_BUFFER_SIZE is the line, as the specification asks.
 */
export const NBD_MAX_DRAIN_SIZE = 128 * MiB

/** Payload of an option that the server understands: two names and hundreds of queries fit. */
export const NBD_MAX_OPTION_SIZE = 64 * KiB

/** Payload of an option that is only read and dropped; beyond it the peer is disconnected. As in QEMU. */
export const NBD_MAX_OPTION_DRAIN_SIZE = 32 * MiB

/** Options in one negotiation: enough for a client that lists and inspects many exports. */
export const NBD_MAX_OPTIONS = 4096

/**
 * TRIM and WRITE_ZEROES are carried out in pieces of this length, which end at its multiples: a file system keeps others
 * off a file for as long as one call takes, and between two pieces a drain, or the end of the connection, is noticed.
 */
export const NBD_MAX_EFFECT_PIECE = 1024 * MiB

/** Queries in one LIST_ or SET_META_CONTEXT. */
export const NBD_MAX_META_QUERIES = 1024

/** Information requests in one INFO or GO; the specification defines four, and forbids repeats. */
export const NBD_MAX_INFO_REQUESTS = 1024

/**
 * Extents in one BLOCK_STATUS chunk. The specification allows 2^20; each costs up to two system calls
 * here, and a client asks again for what is missing, so fewer keep one request from holding a thread.
 */
export const NBD_MAX_EXTENTS = 4096

/** Largest offset that arithmetic keeps exact: 2^53 - 1 bytes are 8 PiB. */
export const NBD_MAX_EXPORT_SIZE = Number.MAX_SAFE_INTEGER

/** From accept to the end of negotiation, in ms. QEMU's handshake-max-seconds has the same default. */
export const NBD_HANDSHAKE_TIMEOUT_MS = 10_000

/** Bytes of payload that one connection may have in flight, in requests and in replies not yet sent. */
export const NBD_MAX_IN_FLIGHT_BYTES = 64 * MiB

/** Requests of one connection that wait for the thread pool; past it the socket is not read. */
export const NBD_MAX_IN_FLIGHT_REQUESTS = 1024

/** Connections that wait, accepted, for one of the `--shared` places; more are closed at once. */
export const NBD_MAX_WAITING_CONNECTIONS = 1024
