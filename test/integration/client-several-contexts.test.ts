import { constants } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { KiB, MiB } from '../helpers/files.ts'
import { runOk } from '../helpers/launched.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import { NBD_REPLY_TYPE_BLOCK_STATUS } from '../helpers/raw-constants.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { context, contexts, serverWith } from '../unit/client/helpers/handshakes.ts'
import { chunk, statusPayload } from '../unit/client/helpers/reply-bytes.ts'
import { handshake, scriptedServer, type Peer } from '../unit/client/helpers/scripted-server.ts'

const DIRTY = 'qemu:dirty-bitmap:b'
const BOTH = { metaContexts: ['base:allocation', DIRTY] }
const answers = contexts(context(3, DIRTY), context(4, 'base:allocation'))

const collect = async <T>(extents: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = []
  for await (const extent of extents) all.push(extent)
  return all
}

/** Answers requests in turn: extents of `dirty`, and of `allocation`. */
const server = async (
  t: Parameters<typeof scriptedServer>[0],
  turns: [dirty: number[], alloc: number[]][]
) => {
  const asked: [offset: number, length: number][] = []
  const script = async (peer: Peer): Promise<void> => {
    await handshake(peer, { answers })
    for (const [dirty, allocation] of turns) {
      const request = await peer.request()
      if (!request) return
      asked.push([Number(request.offset), request.length])
      const status = (id: number, extents: number[], done: boolean): Buffer =>
        chunk(request.cookie, NBD_REPLY_TYPE_BLOCK_STATUS, statusPayload(id, ...extents), { done })
      peer.send(status(3, dirty, false), status(4, allocation, true))
    }
    await peer.request()
  }
  return { uri: (await scriptedServer(t, script)).uri, asked }
}

void t.test('client - joins the extents of several contexts', async (t) => {
  const { uri, asked } = await server(t, [
    // Each cut elsewhere; the first context ends early, and the next request begins there.
    [
      [100, 1, 50, 1, 50, 0],
      [120, 3, 1000, 0]
    ],
    [
      [100, 0, 600, 0xffffffff],
      [10, 0, 990, 0x100]
    ],
    [
      [4096, 0xffffffff],
      [200, 0]
    ]
  ])
  const disk = await connect(uri, BOTH)
  t.strictSame([...disk.metaContexts].sort(), ['base:allocation', DIRTY])
  const flags = (allocation: number, dirty: number) => ({ [DIRTY]: dirty, 'base:allocation': allocation })
  t.strictSame(await collect(disk.blockStatusAll(1000, 1000)), [
    { offset: 1000, length: 120, flags: flags(3, 1) },
    { offset: 1120, length: 30, flags: flags(0, 1) },
    { offset: 1150, length: 150, flags: flags(0, 0) },
    { offset: 1300, length: 700, flags: flags(0, 0xffffffff) }
  ])
  t.strictSame(asked, [
    [1000, 1000],
    [1200, 800],
    [1900, 100]
  ])
  await disk.close()
})

void t.test('client - tells the extents of one of several contexts', async (t) => {
  const turns: [number[], number[]][] = [
    [
      [40, 1, 60, 5],
      [100, 3]
    ],
    [
      [100, 1],
      [30, 0xfffffffe]
    ],
    [
      [1, 1],
      [70, 3]
    ]
  ]
  const { uri, asked } = await server(t, turns)
  const disk = await connect(uri, BOTH)
  t.strictSame(await collect(disk.blockStatus(0, 100, { metaContext: DIRTY })), [
    { offset: 0, length: 40, flags: 1 },
    { offset: 40, length: 60, flags: 5 }
  ])
  t.strictSame(await collect(disk.blockStatus(0, 100)), [
    { offset: 0, length: 30, flags: 2 },
    { offset: 30, length: 70, flags: 3 }
  ])
  t.strictSame(asked, [
    [0, 100],
    [0, 100],
    [30, 70]
  ])
  await disk.close()
})

void t.test('client - a context that was not negotiated is not asked about', async (t) => {
  const uri = await serverWith(t, { answers: contexts(context(4, 'base:allocation')) })
  const disk = await connect(uri, BOTH)
  t.strictSame(disk.metaContexts, ['base:allocation'])
  const { kind, errno, message } = await failureOf(collect(disk.blockStatus(0, 1, { metaContext: DIRTY })))
  t.strictSame([kind, errno], ['request', constants.errno.ENOTSUP])
  t.match(message, /the server does not offer qemu:dirty-bitmap:b, or was not asked for it/)
  await disk.close()

  for (const options of [{ metaContexts: [] }, { packets: 'simple' }] as const) {
    const none = await connect(uri, options)
    t.strictSame(none.metaContexts, [])
    t.equal(none.packets, 'packets' in options ? 'simple' : 'structured')
    t.match(await failureOf(collect(none.blockStatusAll())), {
      kind: 'request',
      errno: constants.errno.ENOTSUP
    })
    await none.close()
  }
})

void t.test('client - contexts that cannot be asked for, and ids that mean two', async (t) => {
  const uri = await serverWith(t, { answers: contexts(context(4, 'base:allocation'), context(4, DIRTY)) })
  t.match(await failureOf(connect(uri, BOTH)), { kind: 'protocol', message: /gave the id 4 to two contexts/ })
  const many = Array.from({ length: 15 }, (_, i) => String(i).padEnd(4096, 'x'))
  const bad: [string[], RegExp][] = [
    [[''], /the metadata context '' is empty/],
    [['a\0b'], /contains a NUL byte/],
    [['x'.repeat(4097)], /is 4097 bytes long/],
    [many, /have 61500 bytes, more than/]
  ]
  for (const [metaContexts, message] of bad)
    t.match(await failureOf(connect(uri, { metaContexts })), { kind: 'config', message })
})

void t.test(
  'client - a bitmap of qemu-nbd',
  requires('qemu-nbd', 'qemu-img', 'qemu-io', 'nbdinfo'),
  async (t) => {
    const image = path.join(tempDir(t), 'disk.qcow2')
    await runOk(t, program('qemu-img'), ['create', '-q', '-f', 'qcow2', image, '4M'])
    await runOk(t, program('qemu-io'), ['-c', 'write 0 64k', image])
    await runOk(t, program('qemu-img'), ['bitmap', '--add', image, 'b'])
    await runOk(t, program('qemu-io'), ['-c', 'write 1M 128k', image])
    const { uri } = await QemuNbd.serve(t, ['-f', 'qcow2', '-r', '-A', '-B', 'b', '-e', '4', image])
    const DEPTH = 'qemu:allocation-depth'
    const disk = await connect(uri, { metaContexts: [DIRTY, 'base:allocation', DEPTH, 'no:such'] })
    t.strictSame([...disk.metaContexts].sort(), ['base:allocation', DEPTH, DIRTY])
    const at = (offset: number, length: number, [allocation, depth, dirty]: number[]) => ({
      offset,
      length,
      flags: { 'base:allocation': allocation, [DEPTH]: depth, [DIRTY]: dirty }
    })
    t.same(await collect(disk.blockStatusAll()), [
      at(0, 64 * KiB, [0, 1, 0]),
      at(64 * KiB, MiB - 64 * KiB, [3, 0, 0]),
      at(MiB, 128 * KiB, [0, 1, 1]),
      at(MiB + 128 * KiB, 3 * MiB - 128 * KiB, [3, 0, 0])
    ])
    t.strictSame(await collect(disk.blockStatus(MiB - 1, 3, { metaContext: DIRTY })), [
      { offset: MiB - 1, length: 1, flags: 0 },
      { offset: MiB, length: 2, flags: 1 }
    ])
    await disk.close()
  }
)
