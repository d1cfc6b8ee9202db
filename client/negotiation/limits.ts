/** What a server may send in the handshake, and the reason for each bound. */
import { NBD_MAX_STRING_SIZE } from '../../shared/protocol/limits.ts'

/**
 * Payload of an option reply, in bytes. The longest that the protocol knows is that of NBD_REP_SERVER: a length, a
 * name and a description; all others hold one string at the most, behind a number.
 */
export const NBD_MAX_OPTION_REPLY_SIZE = 4 + 2 * NBD_MAX_STRING_SIZE

/** Replies to one option, the final one included: the protocol has four kinds of information, and we ask for one context. */
export const NBD_MAX_OPTION_REPLIES = 1024

/** From the start of connecting to the end of the handshake, in ms, when nobody says otherwise. The server's bound is the same. */
export { NBD_HANDSHAKE_TIMEOUT_MS } from '../../shared/protocol/limits.ts'
