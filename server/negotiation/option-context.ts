/** What the code of an option works on: the state of one negotiation, and the way to answer. */
import type { CoroutineFn } from '../../shared/coroutine/coroutine.ts'
import type { QIOChannel } from '../../shared/io/channel.ts'
import type { WindowReader } from '../../shared/io/window-reader.ts'
import type { ExportTable } from '../export/export-table.ts'
import type { NBDExport } from '../export/nbd-export.ts'
import type { MetaContext } from '../export/meta-context.ts'
import { NBD_MODE_SIMPLE, type NBDMode } from '../../shared/protocol/nbd-mode.ts'

export interface OptionContext {
  readonly option: number
  /** All of it; the context's own until the option is done. */
  readonly payload: Buffer
  readonly state: NegotiationState
  readonly reply: (type: number, payload?: Uint8Array) => CoroutineFn
  /** Answers with an error reply and its reason in words; the negotiation goes on. */
  readonly refuse: (type: number, reason: string) => CoroutineFn
}

/** What is negotiated on; STARTTLS puts TLS in the place of the socket. */
export interface Negotiating {
  channel: QIOChannel
  /** Of the channel. */
  reader: WindowReader
}

export interface NegotiationState {
  readonly exports: ExportTable
  mode: NBDMode
  /** The client does not want the 124 zeroes behind the answer to EXPORT_NAME. */
  noZeroes: boolean
  /** What SET_META_CONTEXT chose, and for which export: for any other it is void. */
  contexts: { exp: NBDExport; selected: MetaContext[] } | undefined
}

/** What a negotiation ended with. */
export interface Negotiated {
  exp: NBDExport
  mode: NBDMode
  contexts: MetaContext[]
}

/** `go on`; `end` the connection; or start transmission. */
export type OptionResult = 'go on' | 'end' | Negotiated

/** What a client has negotiated when it has only sent its flags. */
export const newState = (exports: ExportTable, noZeroes: boolean): NegotiationState => ({
  exports,
  mode: NBD_MODE_SIMPLE,
  noZeroes,
  contexts: undefined
})

export type OptionHandler = (context: OptionContext) => CoroutineFn<OptionResult>

/** The negotiated result for `exp`, with the contexts that were chosen for it. */
export function transmit(exp: NBDExport, state: NegotiationState): Negotiated {
  return { exp, mode: state.mode, contexts: state.contexts?.exp === exp ? state.contexts.selected : [] }
}
