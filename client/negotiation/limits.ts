/** What a server may send in the handshake, and the reason for each bound. */
import { NBD_MAX_OPTION_SIZE, NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'

/**
 * Payload of an option reply, in bytes. The longest that the protocol knows is that of NBD_REP_SERVER: a length, a
 * name and a description; all others hold one string at the most, behind a number.
 */
export const NBD_MAX_OPTION_REPLY_SIZE = 4 + 2 * NBD_MAX_STRING_SIZE

/** Replies to one option, the final one included: the protocol has four kinds of information; contexts may be more. */
export const NBD_MAX_OPTION_REPLIES = 1024

/** Exports in a list, and its final reply. nbdkit lists no more either. */
export const NBD_MAX_LIST_REPLIES = 10_000 + 1

/** Names and descriptions of a list, in bytes together: 10 000 of usual length, and no more memory than that. */
export const NBD_MAX_LIST_SIZE = 8 * 1024 * 1024

/**
 * Contexts that are asked for, with a length in front of each, in bytes: together with an export's name they make an
 * option that any server should take.
 */
export const NBD_MAX_CONTEXTS_SIZE = NBD_MAX_OPTION_SIZE - (4 + NBD_MAX_STRING_SIZE + 4)

/** From the start of connecting to the end of the handshake, in ms, when nobody says otherwise. The server's bound is the same. */
export { NBD_HANDSHAKE_TIMEOUT_MS } from '../../shared/protocol/limits.ts'
