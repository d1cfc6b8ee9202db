/** What is negotiated on; STARTTLS puts TLS in the place of the channel. */
import type { QIOChannel } from '../../shared/io/channel.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'

export interface Negotiating {
  channel: QIOChannel
  /** Of the channel. */
  reader: WindowReader
}
