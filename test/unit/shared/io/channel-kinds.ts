/**
 * The kinds of channels that the tests of this folder run on. A new kind is one entry here, and a line in the test
 * that names it.
 *
 * What a kind's `connect` gives is postable, so that each end can be opened in any thread.
 */
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import { execFileSync } from 'node:child_process'
import tap, { type Test } from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelBuffer } from '../../../../shared/io/channel-buffer.ts'
import { QIOChannelCommand } from '../../../../shared/io/channel-command.ts'
import { QIOChannelFile } from '../../../../shared/io/channel-file.ts'
import { QIOChannelPair, type QIOChannelPairHandle } from '../../../../shared/io/channel-pair.ts'
import { QIOChannelWebsock } from '../../../../shared/io/channel-websock.ts'
import { QIOChannelStream } from '../../../../shared/io/channel-stream.ts'
import { QIOChannelSocket } from '../../../../shared/io/channel-socket.ts'
import type { QIOChannel } from '../../../../shared/io/channel.ts'
import { loadClientCreds, loadServerCreds, type TLSCreds } from '../../../../shared/io/tls-creds.ts'
import { duplicateFd } from '../../../../shared/syscall/fd.ts'
import { declare } from '../../../../shared/syscall/libc.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { createPipe } from '../../../../shared/syscall/pipe.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { TestCA } from '../../../helpers/tls-certs.ts'
import { newTLSClient, newTLSServer, type TLSWay } from '../../../helpers/tls-pair.ts'

/** What one end does: it writes, reads, both at once, or, where the bytes are stored, one after the other. */
export type Role = 'write' | 'read' | 'both' | 'write, then read'

export interface End<H> {
  role: Role
  /** Postable. */
  handle: H
}

export interface ChannelKind<H> {
  /** Makes what the ends are opened on. One end when what is written to it comes back. */
  connect: (t: Test) => Promise<End<H>[]>
  /** Opens an end in the calling thread. */
  open: (handle: H) => Promise<QIOChannel>
  /** Goes back to the first byte, where the bytes are stored. */
  rewind?: (channel: QIOChannel) => void
}

/** Each kind knows the type of its own handles. */
const kind = <H>(kind: ChannelKind<H>): ChannelKind<unknown> => kind as ChannelKind<unknown>

const F_SETPIPE_SZ = 1031
const fcntl = declare('int fcntl(int fd, int command, int argument)')

/** A pipe that holds 4 KiB, less than one piece of what the tests write. */
function smallPipe(): { readFd: number; writeFd: number } {
  const ends = createPipe()
  fcntl(ends.writeFd, F_SETPIPE_SZ, 4096)
  return ends
}

export function makeFifo(t: Test): string {
  const fifo = path.join(tempDir(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  return fifo
}

const setsockopt = declare('int setsockopt(int fd, int level, int name, uintptr_t value, uint32_t length)')
const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_RCVBUF = 8
/** Bytes, as in QEMU's test: less than is written at once, and not so small that TCP waits for its timers. */
const SMALL = 64 * 1024

/** A descriptor of its own for a socket, which is given up. */
function takeFd(socket: net.Socket): number {
  const fd = duplicateFd((socket as unknown as { _handle: { fd: number } })._handle.fd)
  socket.destroy()
  const value = Memory.allocate(4)
  value.buffer.writeInt32LE(SMALL, 0)
  for (const name of [SO_SNDBUF, SO_RCVBUF]) setsockopt(fd, SOL_SOCKET, name, value.address, 4)
  return fd
}

/** Descriptors of two sockets that are connected through an address. */
export async function connectedSockets(listen: net.ListenOptions): Promise<[number, number]> {
  const server = net.createServer({ pauseOnConnect: true })
  await new Promise<void>((resolve) => server.listen(listen, resolve))
  const accepted = new Promise<number>((resolve) =>
    server.once('connection', (socket) => resolve(takeFd(socket)))
  )
  const { port } = server.address() as net.AddressInfo
  const client = net.connect(listen.path === undefined ? { host: listen.host!, port } : { path: listen.path })
  const connected = new Promise<number>((resolve, reject) => {
    client.once('connect', () => resolve(takeFd(client)))
    client.once('error', reject)
  })
  const fds = await Promise.all([connected, accepted])
  await new Promise((resolve) => server.close(resolve))
  return fds
}

/** @param listen the address by which the two are connected */
const socketKind = (listen: (t: Test) => net.ListenOptions): ChannelKind<unknown> =>
  kind<number>({
    connect: async (t) =>
      (await connectedSockets(listen(t))).map((handle): End<number> => ({ role: 'both', handle })),
    open: async (fd) => new QIOChannelSocket(fd)
  })

interface TLSEnd {
  fd: number
  creds: TLSCreds
  server: boolean
}

let ca: TestCA | undefined
let maker: PairMaker | undefined

const tls = (way: TLSWay): ChannelKind<unknown> =>
  kind<TLSEnd>({
    connect: async () => {
      const { fd, peer } = await (maker ??= await PairMaker.listen(tap)).descriptor()
      const peerFd = duplicateFd((peer as unknown as { _handle: { fd: number } })._handle.fd)
      peer.destroy()
      const { folder } = (ca ??= TestCA.make(tap).server().client())
      return [
        { role: 'both', handle: { fd, creds: loadServerCreds(folder, { verifyPeer: true }), server: true } },
        { role: 'both', handle: { fd: peerFd, creds: loadClientCreds(folder), server: false } }
      ]
    },
    open: async ({ fd, creds, server }) => {
      const socket = { fd, unread: Buffer.alloc(0) }
      const channel = server
        ? newTLSServer(socket, creds, way)
        : newTLSClient(socket, creds, 'localhost', way)
      await Coroutine.start(() => channel.handshake())
      return channel
    }
  })

export const kinds = {
  'socket ipv4': socketKind(() => ({ host: '127.0.0.1', port: 0 })),
  'socket ipv6': socketKind(() => ({ host: '::1', port: 0 })),
  'socket unix': socketKind((t) => ({ path: path.join(tempDir(t), 'socket') })),
  buffer: kind<number>({
    connect: async () => [{ role: 'write, then read', handle: 2 << 20 }],
    open: async (limit) => new QIOChannelBuffer(limit),
    rewind: (channel) => (channel as QIOChannelBuffer).seek(0)
  }),
  file: kind<string>({
    connect: async (t) => [{ role: 'write, then read', handle: path.join(tempDir(t), 'file') }],
    open: (file) => QIOChannelFile.open(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600),
    rewind: (channel) => (channel as QIOChannelFile).seek(0)
  }),
  pair: kind<QIOChannelPairHandle>({
    connect: async () =>
      QIOChannelPair.create(2048).map(({ handle }): End<QIOChannelPairHandle> => ({ role: 'both', handle })),
    open: async (handle) => QIOChannelPair.open(handle)
  }),
  pipe: kind<number>({
    connect: async () => {
      const { readFd, writeFd } = smallPipe()
      return [
        { role: 'write', handle: writeFd },
        { role: 'read', handle: readFd }
      ]
    },
    open: async (fd) => QIOChannelFile.fromFd(fd)
  }),
  fifo: kind<{ fifo: string; flags: number }>({
    connect: async (t) => {
      const fifo = makeFifo(t)
      return [
        { role: 'write', handle: { fifo, flags: fs.constants.O_WRONLY } },
        { role: 'read', handle: { fifo, flags: fs.constants.O_RDONLY } }
      ]
    },
    open: ({ fifo, flags }) => QIOChannelFile.open(fifo, flags)
  }),
  'command fifo': kind<{ program: string; flags: number }>({
    connect: async (t) => {
      const fifo = makeFifo(t)
      return [
        { role: 'write', handle: { program: `exec cat > '${fifo}'`, flags: fs.constants.O_WRONLY } },
        { role: 'read', handle: { program: `exec cat '${fifo}'`, flags: fs.constants.O_RDONLY } }
      ]
    },
    open: ({ program, flags }) => QIOChannelCommand.spawn(['sh', '-c', program], flags)
  }),
  'command echo': kind<null>({
    connect: async () => [{ role: 'both', handle: null }],
    open: () => QIOChannelCommand.spawn(['cat'])
  }),
  websock: kind<QIOChannelPairHandle>({
    connect: async () =>
      QIOChannelPair.create(2048).map(({ handle }): End<QIOChannelPairHandle> => ({ role: 'both', handle })),
    open: (handle) => {
      const master = QIOChannelPair.open(handle)
      return Coroutine.start(() =>
        handle.end === 0 ? QIOChannelWebsock.accept(master) : QIOChannelWebsock.connect(master, 'localhost')
      )
    }
  }),
  stream: kind<number>({
    connect: async (t) =>
      (await connectedSockets({ path: path.join(tempDir(t), 'socket') })).map((handle): End<number> => ({
        role: 'both',
        handle
      })),
    open: async (fd) => new QIOChannelStream(new net.Socket({ fd, allowHalfOpen: true }))
  }),
  tls: tls('openssl'),
  'node:tls': tls('node:tls')
}

export type KindName = keyof typeof kinds
