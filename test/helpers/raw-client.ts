/**
 * A client that can send any bytes and takes nothing for granted of what comes back: the judge of the server in the
 * conformance tests. It shares no code with the server.
 */
import * as net from 'node:net'
import * as tls from 'node:tls'
import type { Test } from 'tap'
import {
  NBD_CMD_READ,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_INFO_EXPORT,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_INFO,
  NBD_REP_MAGIC,
  NBD_REP_META_CONTEXT,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC
} from './raw-constants.ts'
import { infoPayload, metaPayload, option, request, u32, type RawRequest } from './raw-wire.ts'
import { within } from './wait-for.ts'

const GREETING_SIZE = 18
/** Less than the time after which the server closes a connection that is silent in negotiation. */
const CLOSE_TIMEOUT_MS = 8000

export interface RawOptionReply {
  type: number
  payload: Buffer
}

/** What NBD_OPT_GO told. */
export interface RawExport {
  size: bigint
  flags: number
  /** Payloads by information type, without the type. */
  infos: Map<number, Buffer>
}

export interface RawChunk {
  flags: number
  type: number
  cookie: bigint
  payload: Buffer
}

export interface RawExtent {
  length: number
  flags: number
}

/** A whole reply, in whichever form it came. */
export interface RawReply {
  cookie: bigint
  error: number
  /** Text of an error chunk. */
  message: string
  /** What a READ brought. */
  data: Buffer
  /** Of BLOCK_STATUS, by context id. */
  extents: Map<number, RawExtent[]>
  /** Empty for a simple reply. */
  chunks: RawChunk[]
}

/** Where a server can be reached: a Mqnbd is one. */
export interface Endpoint {
  socket: string | undefined
  uri: string
}

export interface RawTransmission {
  name?: string
  structured?: boolean
  /** Queries for SET_META_CONTEXT. */
  meta?: string[]
}

export class RawClient {
  /** From `startTls` on, the encrypted one. */
  socket: net.Socket
  structured = false
  #received: Buffer[] = []
  #length = 0
  #ended = false
  #wake: (() => void) | undefined

  private constructor(socket: net.Socket) {
    this.socket = socket
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

  /** Connects; sends and reads nothing. Destroyed when the test ends. */
  static async connect(t: Test, server: Endpoint): Promise<RawClient> {
    const [, host = '', port] = /^nbd:\/\/(.*):(\d+)/.exec(server.uri) ?? []
    const socket = net.connect({
      ...(server.socket === undefined ? { host, port: Number(port) } : { path: server.socket }),
      allowHalfOpen: true
    })
    t.teardown(() => socket.destroy())
    const client = new RawClient(socket)
    await within(
      'a connection',
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      })
    )
    return client
  }

  /** Connects and shakes hands: the next bytes are options. */
  static async negotiate(t: Test, server: Endpoint): Promise<RawClient> {
    const client = await RawClient.connect(t, server)
    await client.handshake()
    return client
  }

  /** Connects and negotiates up to transmission. */
  static async transmit(
    t: Test,
    server: Endpoint,
    { name = '', structured = false, meta }: RawTransmission = {}
  ): Promise<RawClient> {
    const client = await RawClient.negotiate(t, server)
    if (structured || meta) await client.negotiateStructured()
    if (meta) await client.setMeta(name, meta)
    await client.go(name)
    return client
  }

  // Bytes

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

  // Negotiation

  /** Reads the greeting and answers it. @returns the greeting */
  async handshake(flags = NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES): Promise<Buffer> {
    const greeting = await this.read(GREETING_SIZE)
    this.send(u32(flags))
    return greeting
  }

  /** One reply to an option; an error when it is not well-formed, or answers another option. */
  async optionReply(asked: number): Promise<RawOptionReply> {
    const header = await this.read(20)
    const magic = header.readBigUInt64BE(0)
    if (magic !== NBD_REP_MAGIC) throw new Error(`option reply magic 0x${magic.toString(16)}`)
    const answered = header.readUInt32BE(8)
    if (answered !== asked) throw new Error(`the reply is to option ${answered}, not ${asked}`)
    return { type: header.readUInt32BE(12), payload: await this.read(header.readUInt32BE(16)) }
  }

  /** All replies to an option, the final one last. */
  async optionReplies(asked: number): Promise<RawOptionReply[]> {
    const replies: RawOptionReply[] = []
    for (;;) {
      const reply = await this.optionReply(asked)
      replies.push(reply)
      if (reply.type === NBD_REP_ACK || reply.type >= 0x80000000) return replies
    }
  }

  /** Sends an option. @returns all replies to it, the final one last */
  ask(number: number, payload?: Buffer): Promise<RawOptionReply[]> {
    this.send(option(number, payload))
    return this.optionReplies(number)
  }

  /** NBD_OPT_STARTTLS, which must be acknowledged, and the handshake. */
  async startTls(options: tls.ConnectionOptions): Promise<void> {
    const type = await this.askOnce(NBD_OPT_STARTTLS)
    if (type !== NBD_REP_ACK) throw new Error(`STARTTLS: 0x${type.toString(16)}`)
    await this.secure(options)
  }

  /** The handshake. Rejects when it fails. */
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

  /** Sends an option. @returns the type of the one reply to it */
  async askOnce(number: number, payload?: Buffer): Promise<number> {
    const replies = await this.ask(number, payload)
    if (replies.length !== 1) throw new Error(`${replies.length} replies to option ${number}, not 1`)
    return replies[0]!.type
  }

  /** NBD_OPT_GO, or INFO; an error when it is not acknowledged. */
  async go(name: string, infos: number[] = [], number = NBD_OPT_GO): Promise<RawExport> {
    const replies = await this.ask(number, infoPayload(name, infos))
    const final = replies.pop()!
    if (final.type !== NBD_REP_ACK)
      throw new Error(`0x${final.type.toString(16)}: ${final.payload.toString()}`)
    const told = new Map<number, Buffer>()
    for (const { type, payload } of replies) {
      const info = payload.readUInt16BE(0)
      if (type !== NBD_REP_INFO || told.has(info)) throw new Error(`reply ${type}, info ${info} among infos`)
      told.set(info, payload.subarray(2))
    }
    const exported = told.get(NBD_INFO_EXPORT)
    if (exported?.length !== 10) throw new Error('no NBD_INFO_EXPORT of 12 bytes')
    return { size: exported.readBigUInt64BE(0), flags: exported.readUInt16BE(8), infos: told }
  }

  async negotiateStructured(): Promise<void> {
    const type = await this.askOnce(NBD_OPT_STRUCTURED_REPLY)
    if (type !== NBD_REP_ACK) throw new Error(`structured replies: 0x${type.toString(16)}`)
    this.structured = true
  }

  /** NBD_OPT_SET_META_CONTEXT, or LIST; an error when it is not acknowledged. @returns ids by name */
  async setMeta(
    name: string,
    queries: string[],
    number = NBD_OPT_SET_META_CONTEXT
  ): Promise<Map<string, number>> {
    const replies = await this.ask(number, metaPayload(name, queries))
    const final = replies.pop()!
    if (final.type !== NBD_REP_ACK)
      throw new Error(`0x${final.type.toString(16)}: ${final.payload.toString()}`)
    const contexts = new Map<string, number>()
    for (const { type, payload } of replies) {
      if (type !== NBD_REP_META_CONTEXT) throw new Error(`reply ${type} among metadata contexts`)
      contexts.set(payload.toString('utf8', 4), payload.readUInt32BE(0))
    }
    return contexts
  }

  // Transmission

  /** A simple reply. @param lengthOf says how many bytes of data follow on success, by the cookie */
  async simpleReply(lengthOf: (cookie: bigint) => number = () => 0): Promise<RawReply> {
    const magic = (await this.read(4)).readUInt32BE(0)
    if (magic !== NBD_SIMPLE_REPLY_MAGIC) throw new Error(`simple reply magic 0x${magic.toString(16)}`)
    return this.#simpleBody(lengthOf)
  }

  async #simpleBody(lengthOf: (cookie: bigint) => number): Promise<RawReply> {
    const header = await this.read(12)
    const error = header.readUInt32BE(0)
    const cookie = header.readBigUInt64BE(4)
    const data = await this.read(error === 0 ? lengthOf(cookie) : 0)
    return { cookie, error, message: '', data, extents: new Map(), chunks: [] }
  }

  /** A chunk of a structured reply. */
  async chunk(): Promise<RawChunk> {
    const magic = (await this.read(4)).readUInt32BE(0)
    if (magic !== NBD_STRUCTURED_REPLY_MAGIC) throw new Error(`chunk magic 0x${magic.toString(16)}`)
    return this.#chunkBody()
  }

  async #chunkBody(): Promise<RawChunk> {
    const header = await this.read(16)
    const payload = await this.read(header.readUInt32BE(12))
    return {
      flags: header.readUInt16BE(0),
      type: header.readUInt16BE(2),
      cookie: header.readBigUInt64BE(4),
      payload
    }
  }

  /** The reply to `asked`, which must be the next thing that comes; an error when its form is not legal. */
  reply(asked: RawRequest): Promise<RawReply> {
    return this.replyToAny(() => asked)
  }

  /**
   * The reply that comes next, when several are awaited; an error when its form is not legal.
   *
   * @param find gives the request by the cookie
   */
  async replyToAny(find: (cookie: bigint) => RawRequest): Promise<RawReply> {
    const magic = (await this.read(4)).readUInt32BE(0)
    if (magic === NBD_SIMPLE_REPLY_MAGIC) {
      return this.#simpleBody((cookie) => {
        const { type, length = 0 } = find(cookie)
        if (type !== NBD_CMD_READ) return 0
        if (this.structured) throw new Error('a simple reply to READ on a structured connection')
        return length
      })
    }
    if (magic !== NBD_STRUCTURED_REPLY_MAGIC) throw new Error(`reply magic 0x${magic.toString(16)}`)
    if (!this.structured) throw new Error('a structured reply that nobody asked for')
    const chunks = [await this.#chunkBody()]
    while ((chunks.at(-1)!.flags & NBD_REPLY_FLAG_DONE) === 0) chunks.push(await this.chunk())
    return assemble(find(chunks[0]!.cookie), chunks)
  }

  /** Sends a request. @returns its reply, which must be the next thing that comes */
  call(asked: RawRequest): Promise<RawReply> {
    this.send(request(asked))
    return this.reply(asked)
  }
}

/** Checks the chunks of one reply against the specification, and puts the reply together. */
function assemble(asked: RawRequest, chunks: RawChunk[]): RawReply {
  const offset = BigInt(asked.offset ?? 0)
  const length = asked.length ?? 0
  const covered: { start: number; end: number }[] = []
  const reply: RawReply = {
    cookie: chunks[0]!.cookie,
    error: 0,
    message: '',
    data: Buffer.alloc(chunks.some(({ type }) => type < NBD_REPLY_TYPE_BLOCK_STATUS) ? length : 0),
    extents: new Map(),
    chunks
  }
  const content = (at: bigint, size: number): number => {
    const start = Number(at - offset)
    if (size === 0 || start < 0 || start + size > length)
      throw new Error('a content chunk outside the request')
    const end = start + size
    if (covered.some((other) => start < other.end && other.start < end)) throw new Error('overlapping chunks')
    covered.push({ start, end })
    return start
  }
  for (const { type, flags, cookie, payload } of chunks) {
    if (cookie !== reply.cookie) throw new Error('chunks with different cookies')
    if ((flags & ~NBD_REPLY_FLAG_DONE) !== 0) throw new Error(`chunk flags ${flags}`)
    if (type === NBD_REPLY_TYPE_NONE) {
      if (payload.length > 0 || flags === 0) throw new Error('a NONE chunk with payload, or without DONE')
    } else if (type === NBD_REPLY_TYPE_OFFSET_DATA) {
      const start = content(payload.readBigUInt64BE(0), payload.length - 8)
      payload.copy(reply.data, start, 8)
    } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      if (payload.length !== 12) throw new Error(`a hole chunk of ${payload.length} bytes`)
      content(payload.readBigUInt64BE(0), payload.readUInt32BE(8))
    } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS) {
      addExtents(reply, payload)
    } else if ((type & 0x8000) !== 0) {
      reply.error = payload.readUInt32BE(0)
      if (reply.error === 0) throw new Error('an error chunk without an error')
      const end = 6 + payload.readUInt16BE(4)
      if (end > payload.length) throw new Error('an error text that is longer than its chunk')
      reply.message = payload.toString('utf8', 6, end)
    } else {
      throw new Error(`chunk type ${type}`)
    }
  }
  const total = covered.reduce((sum, { start, end }) => sum + end - start, 0)
  if (asked.type === NBD_CMD_READ && reply.error === 0 && total !== length) {
    throw new Error(`success with ${total} of ${length} bytes`)
  }
  return reply
}

function addExtents(reply: RawReply, payload: Buffer): void {
  const id = payload.readUInt32BE(0)
  if (reply.extents.has(id)) throw new Error(`two chunks for metadata context ${id}`)
  if (payload.length < 12 || payload.length % 8 !== 4)
    throw new Error(`a status chunk of ${payload.length} bytes`)
  const extents: RawExtent[] = []
  for (let at = 4; at < payload.length; at += 8) {
    extents.push({ length: payload.readUInt32BE(at), flags: payload.readUInt32BE(at + 4) })
  }
  if (extents.some(({ length }) => length === 0)) throw new Error('an extent without length')
  reply.extents.set(id, extents)
}
