/** A connection to a server: any bytes out, exactly so many bytes in. */
import * as net from 'node:net'
import * as tls from 'node:tls'
import type { Test } from 'tap'
import { within } from './wait-for.ts'

/** Less than the time after which the server closes a connection that is silent in negotiation. */
const CLOSE_TIMEOUT_MS = 8000

/** Where a server can be reached: a Mqnbd is one. */
export interface Endpoint {
  socket: string | undefined
  uri: string
}

/** Connects to it. Destroyed when the test ends. */
export async function connectTo(t: Test, server: Endpoint): Promise<net.Socket> {
  const [, host = '', port] = /^nbd:\/\/(.*):(\d+)/.exec(server.uri) ?? []
  const socket = net.connect({
    ...(server.socket === undefined ? { host, port: Number(port) } : { path: server.socket }),
    allowHalfOpen: true
  })
  t.teardown(() => socket.destroy())
  await within(
    'a connection',
    new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
  )
  return socket
}

export class RawStream {
  /** From `secure` on, the encrypted one. */
  socket: net.Socket
  #received: Buffer[] = []
  #length = 0
  #ended = false
  #wake: (() => void) | undefined

  constructor(socket: net.Socket) {
    this.socket = socket
    this.#listen()
  }

  send(...bytes: Buffer[]): void {
    for (const piece of bytes) this.socket.write(piece)
  }

  /** Sends, and resolves when the kernel has taken it. */
  sent(bytes: Buffer): Promise<void> {
    return within(
      `room for ${bytes.length} bytes`,
      new Promise((resolve, reject) =>
        this.socket.write(bytes, (error) => (error ? reject(error) : resolve()))
      )
    )
  }

  /** Exactly `n` bytes; an error at the end of the stream, or when they take too long. */
  async read(n: number, timeoutMs?: number): Promise<Buffer> {
    if (this.#length >= n) return this.#take(n)
    return within(`${n} bytes`, this.#readAll(n), timeoutMs)
  }

  /**
   * Resolves when the server has closed the connection.
   *
   * @returns what it had sent that nobody has read
   */
  async closed(timeoutMs = CLOSE_TIMEOUT_MS): Promise<Buffer> {
    await within(
      'the server to close the connection',
      this.#until(() => this.#ended),
      timeoutMs
    )
    return this.#take(this.#length)
  }

  /** Bytes that came and were not read. */
  get pending(): number {
    return this.#length
  }

  async #readAll(n: number): Promise<Buffer> {
    await this.#until(() => this.#length >= n || this.#ended)
    if (this.#length < n) throw new Error(`the server closed the connection: ${this.#length} of ${n} bytes`)
    return this.#take(n)
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  #take(n: number): Buffer {
    const pieces: Buffer[] = []
    for (let missing = n; missing > 0;) {
      const head = this.#received[0]!
      pieces.push(head.subarray(0, missing))
      if (head.length > missing) this.#received[0] = head.subarray(missing)
      else this.#received.shift()
      missing -= Math.min(missing, head.length)
    }
    this.#length -= n
    return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces)
  }

  /** The handshake of TLS. Rejects when it fails. */
  async secure(options: tls.ConnectionOptions): Promise<void> {
    if (this.#length > 0) throw new Error(`${this.#length} bytes in plain text before the handshake`)
    this.socket.removeAllListeners('data')
    const secured = tls.connect({ socket: this.socket, servername: 'localhost', ...options })
    await within(
      'the handshake',
      new Promise<void>((resolve, reject) => {
        secured.once('secureConnect', resolve)
        secured.once('error', reject)
      })
    )
    this.socket = secured
    this.#listen()
  }

  #listen(): void {
    this.socket.on('data', (bytes) => {
      this.#received.push(bytes)
      this.#length += bytes.length
      this.#wake?.()
    })
    const end = (): void => {
      this.#ended = true
      this.#wake?.()
    }
    // A reset is one way of closing, too: the server need not have read what it does not want.
    for (const event of ['end', 'close', 'error']) this.socket.on(event, end)
  }
}
