/**
 * A client that can send any bytes and takes nothing for granted of what comes back: the judge of the server in the
 * conformance tests. It shares no code with the server.
 */
import type { ConnectionOptions } from 'node:tls'
import type { Test } from 'tap'
import {
  NBD_CMD_READ,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_FLAG_C_FIXED_NEWSTYLE,
  NBD_FLAG_C_NO_ZEROES,
  NBD_INFO_EXPORT,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_INFO,
  NBD_REP_MAGIC,
  NBD_REP_META_CONTEXT,
  NBD_REPLY_FLAG_DONE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC
} from './raw-constants.ts'
import { assemble, type RawChunk, type RawReply } from './raw-reply.ts'
import { connectTo, RawStream, type Endpoint } from './raw-stream.ts'
import {
  extendedRequest,
  infoPayload,
  metaPayload,
  option,
  request,
  u32,
  type RawRequest
} from './raw-wire.ts'

const GREETING_SIZE = 18

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

export interface RawTransmission {
  name?: string
  structured?: boolean
  /** Extended headers, without structured replies before. */
  extended?: boolean
  /** Queries for SET_META_CONTEXT. */
  meta?: string[]
}

export class RawClient extends RawStream {
  structured = false
  extended = false

  /** Connects; sends and reads nothing. Destroyed when the test ends. */
  static async connect(t: Test, server: Endpoint): Promise<RawClient> {
    return new RawClient(await connectTo(t, server))
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
    { name = '', structured = false, extended = false, meta }: RawTransmission = {}
  ): Promise<RawClient> {
    const client = await RawClient.negotiate(t, server)
    if (extended) await client.negotiateExtended()
    else if (structured || meta) await client.negotiateStructured()
    if (meta) await client.setMeta(name, meta)
    await client.go(name)
    return client
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
  async startTls(options: ConnectionOptions): Promise<void> {
    const type = await this.askOnce(NBD_OPT_STARTTLS)
    if (type !== NBD_REP_ACK) throw new Error(`STARTTLS: 0x${type.toString(16)}`)
    await this.secure(options)
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

  async negotiateExtended(): Promise<void> {
    const type = await this.askOnce(NBD_OPT_EXTENDED_HEADERS)
    if (type !== NBD_REP_ACK) throw new Error(`extended headers: 0x${type.toString(16)}`)
    this.extended = true
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
    if (magic !== (this.extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC))
      throw new Error(`chunk magic 0x${magic.toString(16)}`)
    return this.extended ? this.#extendedBody() : this.#chunkBody()
  }

  async #extendedBody(): Promise<RawChunk> {
    const header = await this.read(28)
    const payload = await this.read(Number(header.readBigUInt64BE(20)))
    return {
      flags: header.readUInt16BE(0),
      type: header.readUInt16BE(2),
      cookie: header.readBigUInt64BE(4),
      requestOffset: header.readBigUInt64BE(12),
      payload
    }
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
    if (magic === NBD_SIMPLE_REPLY_MAGIC && !this.extended) {
      return this.#simpleBody((cookie) => {
        const { type, length = 0 } = find(cookie)
        if (type !== NBD_CMD_READ) return 0
        if (this.structured) throw new Error('a simple reply to READ on a structured connection')
        return length
      })
    }
    if (this.extended && magic === NBD_EXTENDED_REPLY_MAGIC)
      return this.#rest(find, await this.#extendedBody())
    if (magic !== NBD_STRUCTURED_REPLY_MAGIC) throw new Error(`reply magic 0x${magic.toString(16)}`)
    if (!this.structured) throw new Error('a structured reply that nobody asked for')
    return this.#rest(find, await this.#chunkBody())
  }

  async #rest(find: (cookie: bigint) => RawRequest, first: RawChunk): Promise<RawReply> {
    const chunks = [first]
    while ((chunks.at(-1)!.flags & NBD_REPLY_FLAG_DONE) === 0) chunks.push(await this.chunk())
    return assemble(find(chunks[0]!.cookie), chunks)
  }

  /** Sends a request. @returns its reply, which must be the next thing that comes */
  call(asked: RawRequest): Promise<RawReply> {
    this.send(this.extended ? asExtended(asked) : request(asked))
    return this.reply(asked)
  }
}

/** The request with an extended header, and the flag that its payload needs. */
function asExtended(asked: RawRequest): Buffer {
  const payload = asked.payload ? NBD_CMD_FLAG_PAYLOAD_LEN : 0
  return extendedRequest({ ...asked, flags: (asked.flags ?? 0) | payload })
}
