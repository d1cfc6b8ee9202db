/**
 * The HTTP upgrade by which a WebSocket begins. It carries NBD as binary messages, so the sub-protocol is `binary`, as
 * in QEMU and websockify.
 *
 * @see RFC 6455, section 4; QEMU io/channel-websock.c, qio_channel_websock_handshake_process
 */
import * as crypto from 'node:crypto'
import { NBDError } from '../errors/nbd-error.ts'

/** Bytes of a request or reply, its empty line included: 512 are usual, and cookies may be much longer. */
export const MAX_HANDSHAKE_SIZE = 8192
const MAX_HEADERS = 64
const PROTOCOL = 'binary'
const VERSION = '13'
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

export const handshakeError = (message: string): NBDError =>
  new NBDError('transport', `WebSocket handshake: ${message}`)

/** What a server answers, and why it refuses when it does. */
export interface HandshakeReply {
  text: string
  refused: string | undefined
}

interface Head {
  /** Request line or status line. */
  first: string
  /** By names in lower case. */
  headers: Map<string, string>
}

/** @returns undefined when it is not HTTP */
function parseHead(text: string): Head | undefined {
  const [first, ...lines] = text.split('\r\n')
  if (lines.length > MAX_HEADERS || !/^[\x20-\x7e]*$/.test(first!)) return undefined
  const headers = new Map<string, string>()
  for (const line of lines) {
    const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t\x20-\x7e\x80-\xff]*)$/.exec(line)
    if (!match) return undefined
    const name = match[1]!.toLowerCase()
    const earlier = headers.get(name)
    const value = match[2]!.trim()
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`)
  }
  return { first: first!, headers }
}

/** Whether a header is a list that has this in it, in any case of letters. */
const lists = (head: Head, name: string, value: string): boolean =>
  (head.headers.get(name) ?? '').split(',').some((item) => item.trim().toLowerCase() === value)

const acceptKey = (key: string): string =>
  crypto
    .createHash('sha1')
    .update(key + GUID)
    .digest('base64')

const refusal = (status: string, refused: string): HandshakeReply => ({
  text: `HTTP/1.1 ${status}\r\nConnection: close\r\nSec-WebSocket-Version: ${VERSION}\r\nContent-Length: 0\r\n\r\n`,
  refused
})

/** The answer to a request that has not ended within MAX_HANDSHAKE_SIZE. */
export const tooLarge = (): HandshakeReply =>
  refusal('431 Request Header Fields Too Large', `the request is longer than ${MAX_HANDSHAKE_SIZE} bytes`)

/**
 * A server's answer to a request.
 *
 * @param text of the request, without its empty line
 * @param path the only one that there is
 */
export function answerRequest(text: string, path: string): HandshakeReply {
  const head = parseHead(text)
  const [method, target, version, ...rest] = head?.first.split(' ') ?? []
  const bad = (why: string): HandshakeReply => refusal('400 Bad Request', why)
  if (!head || version !== 'HTTP/1.1' || rest.length > 0) return bad('the request is not HTTP/1.1')
  if (method !== 'GET') return refusal('405 Method Not Allowed', 'the method is not GET')
  if (target !== path) return refusal('404 Not Found', `the path is not ${path}`)
  if (!head.headers.has('host')) return bad('there is no host')
  if (!lists(head, 'upgrade', 'websocket') || !lists(head, 'connection', 'upgrade')) {
    return refusal('426 Upgrade Required', 'it is not asked for')
  }
  if (head.headers.get('sec-websocket-version') !== VERSION) {
    return refusal('426 Upgrade Required', `the version is not ${VERSION}`)
  }
  const key = head.headers.get('sec-websocket-key') ?? ''
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return bad('the key is not 16 bytes in base64')
  if (!lists(head, 'sec-websocket-protocol', PROTOCOL))
    return bad(`the protocol '${PROTOCOL}' is not offered`)
  return {
    text: [
      'HTTP/1.1 101 Switching Protocols',
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Accept: ${acceptKey(key)}`,
      `Sec-WebSocket-Protocol: ${PROTOCOL}`,
      '\r\n'
    ].join('\r\n'),
    refused: undefined
  }
}

/** A key of a client, different each time. */
export const newKey = (): string => crypto.randomBytes(16).toString('base64')

/**
 * A client's request.
 *
 * @param host with the port, where it is not the usual one
 * @throws NBDError of kind `config` when host or path cannot be
 */
export function upgradeRequest(host: string, path: string, key: string): string {
  if (!/^[\x21-\x7e]+$/.test(host) || !/^\/[\x21-\x7e]*$/.test(path)) {
    throw new NBDError(
      'config',
      'host and path of a WebSocket are printable ASCII, and the path begins with /'
    )
  }
  return [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${key}`,
    `Sec-WebSocket-Version: ${VERSION}`,
    `Sec-WebSocket-Protocol: ${PROTOCOL}`,
    '\r\n'
  ].join('\r\n')
}

/**
 * Checks what a server answered to `upgradeRequest`.
 *
 * @param text without its empty line
 * @throws NBDError of kind `transport` unless it agrees
 */
export function checkReply(text: string, key: string): void {
  const head = parseHead(text)
  const status = /^HTTP\/1\.1 (\d{3})( |$)/.exec(head?.first ?? '')?.[1]
  if (!head || status === undefined) throw handshakeError('the server does not speak HTTP/1.1')
  if (status !== '101') throw handshakeError(`the server refuses: status ${status}`)
  if (!lists(head, 'upgrade', 'websocket') || !lists(head, 'connection', 'upgrade')) {
    throw handshakeError('the server upgrades to something else')
  }
  if (head.headers.get('sec-websocket-accept') !== acceptKey(key)) {
    throw handshakeError('the server answers to another key')
  }
  if (
    head.headers.get('sec-websocket-protocol') !== PROTOCOL ||
    head.headers.has('sec-websocket-extensions')
  ) {
    throw handshakeError('the server chooses what was not offered')
  }
}
