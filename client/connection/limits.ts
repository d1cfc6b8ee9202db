/** Connecting again: how often it is tried. */

/** In ms, before the second attempt; twice as long before each one after it, up to the longest. */
export const NBD_FIRST_RETRY_MS = 100
/** @see nbd_client_connection_enable_retry in QEMU's nbd/client-connection.c, which begins with 1 s */
export const NBD_LONGEST_RETRY_MS = 16_000

/** Connections behind one disk: what no server should be asked for more of. */
export const NBD_MAX_CONNECTIONS = 64
