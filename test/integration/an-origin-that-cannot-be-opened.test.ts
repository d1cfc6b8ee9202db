import * as path from 'node:path'
import t from 'tap'
import { allRefused } from '../helpers/command-line.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { serveImages } from '../helpers/raw-server.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import {
  FLAGS,
  handshake,
  infoExport,
  optionReply,
  scriptedServer
} from '../unit/client/helpers/scripted-server.ts'
import { NBD_OPT_GO, NBD_REP_ACK, NBD_REP_INFO } from '../helpers/raw-constants.ts'

void t.test('origin - refused in one line', async (t) => {
  const socket = path.join(tempDir(t), 'out')
  const { uri } = await serveImages(t, { a: 'memory:1M', b: 'memory:1M' })
  const readOnly = await Mqnbd.serve(t, [emptyImage(t, MiB), '-r'])
  const huge = await scriptedServer(t, async (peer) => {
    const go = [
      optionReply(NBD_OPT_GO, NBD_REP_INFO, infoExport(2n ** 63n, FLAGS)),
      optionReply(NBD_OPT_GO, NBD_REP_ACK)
    ]
    await handshake(peer, { answers: { [NBD_OPT_GO]: go } })
    await peer.request()
  })
  const nowhere = `nbd+unix:///?socket=${tempDir(t)}/nothing`
  const node = (options: string): string[] => [
    '--blockdev',
    `driver=nbd,node-name=n${options}`,
    '--export',
    'nbd,id=e,node-name=n'
  ]
  await allRefused(
    t,
    ['serve', '-k', socket],
    [
      [[nowhere], /cannot open 'nbd\+unix:.*': .*no such file/],
      [[uri.replace('/?', '/c?')], /cannot open .*there is no export 'c'/],
      [[readOnly.uri], /cannot open 'nbd\+unix:.*' for writing: the export is read-only/],
      [[huge.uri], /the export is larger than 2\^53 - 1 bytes/],
      [['nbd+unix:///'], /nbd\+unix needs '\?socket=PATH'/],
      [['nbd+smoke://2:10809/'], /'nbd\+smoke' is not supported/],
      [[readOnly.uri, '-r', '-o', '2M'], /offset 2097152 is beyond the end/],
      [node(''), /--blockdev: 'server' is missing/],
      [node(',server.type=unix'), /--blockdev: server: 'path' is missing/],
      [node(',server.type=inet'), /--blockdev: server: 'host' is missing/],
      [
        node(',server.type=inet,server.host=localhost,server.port=0'),
        /--blockdev: server\.port: .*from 1 to \d+/
      ],
      [
        node(',server.type=inet,server.host=localhost,server.port=65536'),
        /--blockdev: .*server\.port: .*from 1 to 65535/
      ],
      [node(',server.type=vsock'), /server: 'cid' is missing/],
      [node(',server.type=vsock,server.cid=1,server.path=x'), /type=vsock has no 'path'/],
      [node(`,server.type=unix,server.path=x,server.host=y`), /type=unix has no 'host'/],
      [node(`,server.type=inet,server.host=y,server.path=x`), /type=inet has no 'path'/],
      [node(`,server.type=unix,server.path=${tempDir(t)}/x`), /--blockdev: cannot open/],
      [node(`,server.type=unix,server.path=x,open-timeout=-1`), /open-timeout/]
    ],
    1
  )
})

void t.test('origin - read-only, and served so', async (t) => {
  const origin = await Mqnbd.serve(t, [emptyImage(t, MiB), '-r'])
  const server = await Mqnbd.serve(t, [origin.uri, '-r'])
  t.match(server.process.stdout, /serving 'nbd\+unix:.*' \(1M, read-only\)|serving .*read-only/)
})

void t.test('origin - waited for when it is asked for', async (t) => {
  const socket = path.join(tempDir(t), 's')
  const starting = Mqnbd.serve(t, [
    '--blockdev',
    `driver=nbd,node-name=n,server.type=unix,server.path=${socket},open-timeout=100`,
    '--export',
    'nbd,id=e,node-name=n,writable=on'
  ])
  const origin = await Mqnbd.serve(t, ['memory:1M', '-k', socket])
  t.match((await starting).uri, /^nbd\+unix:/)
  t.equal(origin.process.stderr, '')
})
