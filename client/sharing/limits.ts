/** How many can share a connection, and how much. */

/** Attachments of one connection at a time, in all threads. More than there can be contexts: a thread may have several. */
export const NBD_MAX_PARTS = 256

/**
 * Requests in flight on a connection that several threads use; further ones wait. Below what servers bear: QEMU's own
 * clients have 16, its server takes 16 at a time and leaves the rest in the socket, and mqnbd's takes some thousands.
 */
export const NBD_MAX_SHARED_REQUESTS = 512
