/**
 * A server on a Unix socket that does what a test tells it to, right or wrong. It shares no code with the client, and
 * nothing that it is told makes it check what the client sends.
 */
import * as net from 'node:net'
import * as path from 'node:path'
import type { Test } from 'tap'
import {
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_SEND_FLUSH,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_INIT_MAGIC,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_MAGIC,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_MAGIC,
  NBD_REP_META_CONTEXT
} from '../../../helpers/raw-constants.ts'
import { u16, u32, u64 } from '../../../helpers/raw-wire.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

const OPTION_SIZE = 16
const REQUEST_SIZE = 28
const EXTENDED_REQUEST_SIZE = 32
const NBD_CMD_WRITE = 1

export interface Request {
  type: number
  flags: number
  cookie: bigint
  offset: bigint
  length: number
  payload: Buffer
}

/** A client that has connected. */
export class Peer {
  readonly socket: net.Socket
  /** Called for each piece that is written: what is really sent. */
  tamper: ((bytes: Buffer) => Buffer) | undefined
  #received: Buffer[] = []
  #length = 0
  #ended = false
  #wake: (() => void) | undefined

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.on('data', (bytes) => {
      this.#received.push(bytes)
      this.#length += bytes.length
      this.#wake?.()
    })
    for (const event of ['end', 'close', 'error']) {
      socket.on(event, () => {
        this.#ended = true
        this.#wake?.()
      })
    }
  }

  send(...bytes: Buffer[]): void {
    const all = Buffer.concat(bytes)
    this.socket.write(this.tamper?.(all) ?? all)
  }

  /** @returns undefined when the client has gone before it sent that much */
  async read(length: number): Promise<Buffer | undefined> {
    while (this.#length < length) {
      if (this.#ended) return undefined
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    const all = Buffer.concat(this.#received)
    this.#received = [all.subarray(length)]
    this.#length -= length
    return all.subarray(0, length)
  }

  async option(): Promise<{ option: number; payload: Buffer } | undefined> {
    const header = await this.read(OPTION_SIZE)
    if (!header) return undefined
    const payload = await this.read(header.readUInt32BE(12))
    return payload && { option: header.readUInt32BE(8), payload }
  }

  async request(): Promise<Request | undefined> {
    const magic = await this.read(4)
    const extended = magic?.readUInt32BE(0) === NBD_EXTENDED_REQUEST_MAGIC
    const header = magic && (await this.read((extended ? EXTENDED_REQUEST_SIZE : REQUEST_SIZE) - 4))
    if (!header) return undefined
    const [flags, type] = [header.readUInt16BE(0), header.readUInt16BE(2)]
    const [cookie, offset] = [header.readBigUInt64BE(4), header.readBigUInt64BE(12)]
    const length = extended ? Number(header.readBigUInt64BE(20)) : header.readUInt32BE(20)
    const payload = await this.read(type === NBD_CMD_WRITE ? length : 0)
    return payload && { type, flags, cookie, offset, length, payload }
  }
}

export interface Scripted {
  uri: string
  /** Clients that have connected so far. */
  peers: Peer[]
}

/** Serves each client by `script`; then, whatever came of it, the connection is closed. */
export async function scriptedServer(t: Test, script: (peer: Peer) => Promise<void>): Promise<Scripted> {
  const socket = path.join(tempDir(t), 's')
  const peers: Peer[] = []
  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    const peer = new Peer(client)
    peers.push(peer)
    void script(peer).finally(() => client.end())
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  t.teardown(async () => {
    for (const { socket } of peers) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return { uri: `nbd+unix:///?socket=${socket}`, peers }
}

// Messages of the handshake

export const greeting = (
  flags = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES,
  magic = NBD_OPT_MAGIC
): Buffer => Buffer.concat([u64(NBD_INIT_MAGIC), u64(magic), u16(flags)])

/** The whole of an oldstyle handshake. */
export const oldstyleGreeting = (size = SIZE, flags = FLAGS): Buffer =>
  Buffer.concat([
    u64(NBD_INIT_MAGIC),
    u64(0x00420281861253n),
    u64(size),
    u16(0xffff),
    u16(flags),
    Buffer.alloc(124, 1)
  ])

export const optionReply = (
  option: number,
  type: number,
  payload: Buffer = Buffer.alloc(0),
  { magic = NBD_REP_MAGIC, length = payload.length }: { magic?: bigint; length?: number } = {}
): Buffer => Buffer.concat([u64(magic), u32(option), u32(type), u32(length), payload])

export const FLAGS = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH
export const SIZE = 1024n * 1024n
export const ALLOCATION_ID = 77

export const infoExport = (size = SIZE, flags = FLAGS): Buffer =>
  Buffer.concat([u16(NBD_INFO_EXPORT), u64(size), u16(flags)])
export const infoBlockSize = (minimum: number, preferred: number, maximum: number): Buffer =>
  Buffer.concat([u16(NBD_INFO_BLOCK_SIZE), u32(minimum), u32(preferred), u32(maximum)])
export const infoText = (info: number, text: string | Buffer): Buffer =>
  Buffer.concat([u16(info), Buffer.from(text as string)])

/** How a good server without extended headers answers each option. */
export const goodAnswers: Record<number, Buffer[]> = {
  [NBD_OPT_EXTENDED_HEADERS]: [optionReply(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_UNSUP)],
  [NBD_OPT_STRUCTURED_REPLY]: [optionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK)],
  [NBD_OPT_LIST_META_CONTEXT]: [optionReply(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_UNSUP)],
  [NBD_OPT_SET_META_CONTEXT]: [
    optionReply(
      NBD_OPT_SET_META_CONTEXT,
      NBD_REP_META_CONTEXT,
      Buffer.concat([u32(ALLOCATION_ID), Buffer.from('base:allocation')])
    ),
    optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK)
  ],
  [NBD_OPT_GO]: [
    optionReply(NBD_OPT_GO, NBD_REP_INFO, infoExport()),
    optionReply(NBD_OPT_GO, NBD_REP_INFO, infoText(NBD_INFO_NAME, 'disk')),
    optionReply(NBD_OPT_GO, NBD_REP_INFO, infoText(NBD_INFO_DESCRIPTION, 'a disk')),
    optionReply(NBD_OPT_GO, NBD_REP_INFO, infoBlockSize(1, 4096, 65536)),
    optionReply(NBD_OPT_GO, NBD_REP_ACK)
  ]
}

export interface Handshake {
  greeting?: Buffer
  /** Instead of the good ones. */
  answers?: Record<number, Buffer[]>
}

/** Shakes hands until the client is in transmission. @returns false when it has gone */
export async function handshake(
  peer: Peer,
  { greeting: first = greeting(), answers = {} }: Handshake = {}
): Promise<boolean> {
  peer.send(first)
  if (!(await peer.read(4))) return false
  for (;;) {
    const request = await peer.option()
    if (!request) return false
    const answer = answers[request.option] ?? goodAnswers[request.option]
    if (!answer) return false
    peer.send(...answer)
    const entered = request.option === NBD_OPT_GO && answer.at(-1)!.readUInt32BE(12) === NBD_REP_ACK
    if (entered || request.option === NBD_OPT_EXPORT_NAME) return true
  }
}
