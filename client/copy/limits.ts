/** What a copy may be told, and what it does when it is told nothing. */

const KiB = 1024
const MiB = 1024 * KiB

/** As nbdcopy's: no server is asked for less, and many allow no more. */
export const MIN_REQUEST_SIZE = 4 * KiB
export const MAX_REQUEST_SIZE = 32 * MiB

/** Each is a socket here and a client there. */
export const MAX_CONNECTIONS = 64
export const DEFAULT_CONNECTIONS = 4

/** Seconds that a copy waits for a server that has gone. */
export const MAX_RECONNECT_DELAY = 24 * 60 * 60

/** Requests in flight on one connection. */
export const MAX_REQUESTS = 1024
export const DEFAULT_REQUESTS = 64

/** Bytes in flight on one connection. */
export const MAX_QUEUE_SIZE = 1024 * MiB

/** Blocks of zeroes that are looked for: below a sector nothing is gained, and above this there is no finding any. */
export const MIN_SPARSE_SIZE = 512
export const MAX_SPARSE_SIZE = MiB

/** Zeroed in one request: some servers write them, and that takes its time. */
export const ZERO_SIZE = 128 * MiB

/** Data that are shorter are sooner copied than sent from where they are. */
export const MIN_SENT_SIZE = 32 * KiB

/** A hole that is shorter is sooner read than left out. */
export const MIN_HOLE_SIZE = 64 * KiB
