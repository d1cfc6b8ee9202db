/** URLs of WebSockets that carry NBD: `ws://HOST:PORT/PATH`, and `wss` with TLS below it. */
import { configError } from '../../shared/errors/nbd-error.ts'

export interface WebsocketAddress {
  host: string
  port: number
  /** As it is sent to the server. */
  authority: string
  path: string
  /** TLS is below it. */
  secure: boolean
}

/** Whether a text means a WebSocket, right or wrong, and no file: a file of such a name is written `./ws:file`. */
export const isWebsocketUrl = (text: string): boolean => /^wss?:/i.test(text)

/** @throws NBDError of kind `config` */
export function parseWebsocketUrl(text: string): WebsocketAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^wss?:$/.test(url.protocol))
    throw configError(`'${text}' is not the URL of a WebSocket: it must begin with 'ws://' or 'wss://'`)
  if (url.username !== '' || url.password !== '' || url.hash !== '')
    throw configError(`'${text}': the URL of a WebSocket has neither user nor fragment`)
  const secure = url.protocol === 'wss:'
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port || (secure ? 443 : 80)),
    authority: url.host,
    path: url.pathname + url.search,
    secure
  }
}
