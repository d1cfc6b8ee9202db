import * as fs from 'node:fs'
import { constants } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { connect, list } from '../../client/index.ts'
import { MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { QemuNbd } from '../helpers/qemu-nbd.ts'
import {
  NBD_OPT_ABORT,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER
} from '../helpers/raw-constants.ts'
import { u32 } from '../helpers/raw-wire.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { reply } from '../unit/client/helpers/handshakes.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import {
  greeting,
  infoExport,
  optionReply,
  scriptedServer,
  type Peer
} from '../unit/client/helpers/scripted-server.ts'

const node = (name: string, size: string): string[] => [
  '--blockdev',
  `driver=memory,node-name=${name},size=${size}`
]

void t.test('list - tells what each export of ours is', async (t) => {
  const server = await Mqnbd.serve(t, [
    ...[...node('a', '3M'), ...node('b', '1000')],
    ...['--export', 'nbd,id=e0,node-name=a,name=eine Ä,description=the first,writable=on'],
    ...['--export', 'nbd,id=e1,node-name=b']
  ])
  const listed = await list(`nbd+unix:///none?socket=${server.socket!}`)
  t.match(listed, [
    {
      name: 'eine Ä',
      description: 'the first',
      refusal: undefined,
      details: {
        exportName: 'eine Ä',
        size: 3 * MiB,
        flags: { readOnly: false, canFlush: true, canDf: true },
        blockSizes: { minimum: 1, preferred: 4096, maximum: 32 * MiB },
        blockSizesAdvertised: true,
        metaContexts: ['base:allocation']
      }
    },
    { name: 'b', description: '', details: { size: 1000, flags: { readOnly: true } } }
  ])
  t.equal(listed.length, 2)
  const simple = await list(`nbd+unix:///?socket=${server.socket!}`, { packets: 'simple' })
  t.equal(simple[0]!.details!.flags.canDf, false)
})

void t.test('list - hundreds of exports', requires('nbdkit'), async (t) => {
  const folder = tempDir(t)
  const names = Array.from({ length: 300 }, (_, i) => `export-${String(i).padStart(3, '0')}`)
  names.forEach((name, i) => fs.writeFileSync(path.join(folder, name), Buffer.alloc(i)))
  // nbdkit takes only so many options from one client, so many that each can be asked about.
  const listed = await list((await Nbdkit.serve(t, ['file', `dir=${folder}`])).uri)
  t.strictSame(listed.map(({ name }) => name).sort(), names)
  for (const { name, details } of listed) t.equal(details?.size, names.indexOf(name))
})

void t.test(
  'list - a bitmap of qemu-nbd is among the contexts',
  requires('qemu-nbd', 'nbdinfo'),
  async (t) => {
    const file = path.join(tempDir(t), 'raw')
    fs.writeFileSync(file, Buffer.alloc(4096))
    const { uri } = await QemuNbd.serve(t, ['-f', 'raw', '-r', '-A', '-D', 'text', '-e', '4', file])
    t.match(await list(uri), [
      {
        name: '',
        description: 'text',
        details: { metaContexts: ['base:allocation', 'qemu:allocation-depth'] }
      }
    ])
  }
)

/** Answers options until the client leaves. @returns the options that came */
async function answering(t: Parameters<typeof scriptedServer>[0], answers: Record<number, Buffer[]>) {
  const asked: number[] = []
  const script = async (peer: Peer): Promise<void> => {
    peer.send(greeting())
    await peer.read(4)
    for (let request = await peer.option(); request; request = await peer.option()) {
      asked.push(request.option)
      peer.send(...(answers[request.option] ?? [optionReply(request.option, NBD_REP_ERR_UNSUP)]))
    }
  }
  return { uri: (await scriptedServer(t, script)).uri, asked }
}

const named = (name: string, description = '', length = Buffer.byteLength(name)): Buffer =>
  optionReply(NBD_OPT_LIST, NBD_REP_SERVER, Buffer.concat([u32(length), Buffer.from(name + description)]))
const listOf = (...entries: Buffer[]): Record<number, Buffer[]> => ({
  [NBD_OPT_LIST]: [...entries, optionReply(NBD_OPT_LIST, NBD_REP_ACK)]
})

void t.test('list - a server that refuses it', async (t) => {
  const { uri, asked } = await answering(t, reply(NBD_OPT_LIST, NBD_REP_ERR_POLICY, Buffer.from('no\nway')))
  const { kind, errno, message } = await failureOf(list(uri))
  t.strictSame([kind, errno], ['request', constants.errno.EPERM])
  t.equal(
    message,
    `cannot list the exports of '${uri}': the server does not list its exports: ` +
      'NBD_OPT_LIST: the server does not allow this (server: no way)'
  )
  await waitFor('it to be left in order', () => asked.at(-1) === NBD_OPT_ABORT)
  t.strictSame(asked, [NBD_OPT_EXTENDED_HEADERS, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_LIST, NBD_OPT_ABORT])
})

void t.test('list - a server that tells no more than names', async (t) => {
  const { uri } = await answering(t, listOf(named('a', 'about a'), named('')))
  t.strictSame(await list(uri), [
    { name: 'a', description: 'about a', details: undefined, refusal: undefined },
    { name: '', description: '', details: undefined, refusal: undefined }
  ])
})

void t.test('list - an export that is refused does not hide the others', async (t) => {
  const answers = { ...listOf(named('a'), named('b')), ...reply(NBD_OPT_INFO, NBD_REP_ERR_TLS_REQD) }
  const { uri, asked } = await answering(t, answers)
  const listed = await list(uri)
  t.strictSame(
    listed.map(({ name, details }) => [name, details]),
    [
      ['a', undefined],
      ['b', undefined]
    ]
  )
  for (const { refusal } of listed) t.match(refusal, { kind: 'request', message: /requires TLS/ })
  await waitFor('it to be left in order', () => asked.at(-1) === NBD_OPT_ABORT)
})

void t.test('list - a server that shuts down is not asked on', async (t) => {
  const answers = { ...listOf(named('a'), named('b')), ...reply(NBD_OPT_INFO, NBD_REP_ERR_SHUTDOWN) }
  const { uri, asked } = await answering(t, answers)
  t.match(await failureOf(list(uri)), { kind: 'request', message: /the server is shutting down/ })
  await waitFor('it to be left in order', () => asked.at(-1) === NBD_OPT_ABORT)
  t.strictSame(asked.slice(3), [NBD_OPT_INFO, NBD_OPT_ABORT])
})

const info = [optionReply(NBD_OPT_INFO, NBD_REP_INFO, infoExport()), optionReply(NBD_OPT_INFO, NBD_REP_ACK)]
const broken: Record<string, [answers: Record<number, Buffer[]>, why: RegExp]> = {
  'a name longer than its reply': [listOf(named('abc', '', 4)), /name length 4 does not fit/],
  'a reply too short for a length': [
    listOf(optionReply(NBD_OPT_LIST, NBD_REP_SERVER, Buffer.alloc(3))),
    /payload of 3 bytes is too short/
  ],
  'a name with a NUL': [listOf(named('a\0b')), /contains a NUL byte/],
  'a name of 4097 bytes': [listOf(named('x'.repeat(4097))), /the export's name is 4097 bytes long/],
  'a description of 4097 bytes': [listOf(named('', 'x'.repeat(4097))), /the description is 4097 bytes long/],
  'another reply': [listOf(optionReply(NBD_OPT_LIST, NBD_REP_INFO)), /answered by NBD_REP_INFO/],
  'a list without end': [
    listOf(...Array.from({ length: 10_001 }, () => named('x'))),
    /more than 10001 replies/
  ],
  'a list of too many bytes': [
    listOf(...Array.from({ length: 1100 }, () => named('x'.repeat(4096), 'y'.repeat(4096)))),
    /a list of more than 8388608 bytes/
  ],
  'contexts that are none': [
    {
      ...listOf(named('a')),
      ...reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK),
      [NBD_OPT_INFO]: info,
      [NBD_OPT_LIST_META_CONTEXT]: [
        optionReply(NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT, Buffer.alloc(2))
      ]
    },
    /NBD_REP_META_CONTEXT: payload of 2 bytes/
  ]
}

for (const [name, [answers, message]] of Object.entries(broken)) {
  void t.test(`list - gives up on ${name}`, async (t) => {
    const { uri } = await answering(t, answers)
    t.match(await failureOf(list(uri)), { kind: 'protocol', message })
  })
}

void t.test('list - a URI that names an export finds the same', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
  const [one] = await list(server.uri)
  t.equal(one!.name, 'disk')
  const disk = await connect(server.uri)
  t.strictSame(one!.details!.flags, disk.flags)
  await disk.close()
})
