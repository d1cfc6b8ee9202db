/** What the commands of one connection work on. */
import type { NBDMode } from '../../shared/protocol/nbd-mode.ts'
import type { NBDExport } from '../export/nbd-export.ts'
import type { MetaContext } from '../export/meta-context.ts'
import type { ReplyWriter } from './reply-writer.ts'

export interface Transmission {
  readonly exp: NBDExport
  readonly mode: NBDMode
  readonly contexts: MetaContext[]
  readonly writer: ReplyWriter
  /** A fault has ended the connection, and nobody waits for replies any more. */
  readonly isBroken: () => boolean
}
