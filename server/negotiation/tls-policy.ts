/**
 * Whether the clients of a server may, or must, speak TLS; known to every thread that negotiates.
 *
 *   none      NOTLS: STARTTLS is refused
 *   optional  SELECTIVETLS, with no export that demands it
 *   required  FORCEDTLS: nothing is told before STARTTLS
 *
 * @see doc/proto.md "TLS support"
 */
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import type { TLSCreds } from '../../shared/io/tls-creds.ts'
import { exportTable } from '../export/export-table.ts'

export interface TLSPolicy {
  creds: TLSCreds
  /** Nothing but NBD_OPT_STARTTLS and NBD_OPT_ABORT without it. */
  required: boolean
}

/** A server, by its number, and its policy. */
interface ServerPolicy {
  server: number
  policy: TLSPolicy
}

export const SET_TLS_POLICY: EntryPoint<ServerPolicy, void> = {
  module: import.meta.url,
  name: 'setTlsPolicy'
}

/** For all clients of the server in this thread, from the next on. */
export function setTlsPolicy({ server, policy }: ServerPolicy): void {
  exportTable(server).tls = policy
}
