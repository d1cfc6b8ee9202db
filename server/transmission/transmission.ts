/** What the commands of one connection work on. */
import type { NBDExport } from '../export/nbd-export.ts'
import type { MetaContext } from '../export/meta-context.ts'
import type { ReplyWriter } from './reply-writer.ts'

export interface Transmission {
  readonly exp: NBDExport
  readonly structured: boolean
  readonly contexts: MetaContext[]
  readonly writer: ReplyWriter
}
