import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { emptyImage, KiB, MiB, readAt } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { request } from '../helpers/raw-wire.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'

const CLIENTS = 4
const AREA = 64 * MiB
const IN_FLIGHT = 16

/** Writes as fast as it can, until the server hangs up. */
class Writer {
  readonly #client: RawClient
  readonly #area: number
  readonly #sent = new Map<bigint, { offset: number; payload: Buffer }>()
  /** What was answered. */
  readonly written: { offset: number; payload: Buffer }[] = []
  readonly done: Promise<void>

  constructor(client: RawClient, area: number) {
    this.#client = client
    this.#area = area
    this.done = this.#write()
  }

  async #write(): Promise<void> {
    const size = 4 * KiB + (this.#area % 3) * 60 * KiB
    let next = 0n
    const send = (): void => {
      if (Number(next + 1n) * size > AREA) return
      const write = { offset: this.#area * AREA + Number(next) * size, payload: crypto.randomBytes(size) }
      this.#sent.set(next, write)
      this.#client.send(request({ type: NBD_CMD_WRITE, cookie: next++, ...write }))
    }
    for (let i = 0; i < IN_FLIGHT; i++) send()
    for (;;) {
      const reply = await this.#client.simpleReply().catch(() => undefined)
      if (reply === undefined) return
      if (reply.error === 0) this.written.push(this.#sent.get(reply.cookie)!)
      send()
    }
  }
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  void t.test(`${signal} - under load: what was answered is in the file`, async (t) => {
    const image = emptyImage(t, CLIENTS * AREA)
    const folder = tempDir(t)
    const [socket, pidFile] = [path.join(folder, 's'), path.join(folder, 'pid')]
    const server = await Mqnbd.serve(t, [image, '-k', socket, '--pid-file', pidFile, '--iothreads', '4'])
    const writers: Writer[] = []
    for (let i = 0; i < CLIENTS; i++) writers.push(new Writer(await RawClient.transmit(t, server), i))
    await waitFor('everybody to write', () => writers.every(({ written }) => written.length > 100))

    t.same(await server.process.end(signal), { status: 0, signal: null })
    t.equal(server.process.stderr, '', 'without a word')
    t.same(fs.readdirSync(folder), [], 'socket file and pid file are gone')
    await Promise.all(writers.map(({ done }) => done))
    for (const { written } of writers) {
      const lost = written.filter(
        ({ offset, payload }) => !readAt(image, offset, payload.length).equals(payload)
      )
      t.equal(lost.length, 0, `of ${written.length} writes none is lost`)
    }
  })

  void t.test(`${signal} - with clients that are idle, or still negotiate`, async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M'])
    const clients = [await RawClient.transmit(t, server), await RawClient.negotiate(t, server)]
    t.same(await server.process.end(signal), { status: 0, signal: null })
    t.notOk(fs.existsSync(server.socket!), 'the socket file is gone')
    await t.resolves(Promise.all(clients.map((client) => client.closed())))
  })
}
