import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { emptyImage, imageOf, MiB, readAt } from '../helpers/files.ts'
import { Launched, run } from '../helpers/launched.ts'
import { MQNBD, mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { onDisk, onOwnDisk, requiresMount } from '../helpers/small-disk.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'
import {
  NBD_CMD_READ,
  NBD_EIO,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO
} from '../helpers/raw-constants.ts'
import { simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import {
  handshake,
  infoExport,
  optionReply,
  scriptedServer,
  type Request
} from '../unit/client/helpers/scripted-server.ts'

const noSpace = (t: Test, ran: Parameters<typeof isRefusal>[1], what: string): void =>
  isRefusal(t, ran, 1, /cannot write '.*'.*: no space left on device/, what)

void t.test('copy - a full disk ends it with one line', requiresMount(), async (t) => {
  const source = imageOf(t, crypto.randomBytes(20 * MiB))
  const [unshare, ...mounted] = onOwnDisk('-t tmpfs -o size=8m none', 0)
  const under = (...args: string[]): Promise<Parameters<typeof isRefusal>[1]> =>
    run(t, unshare!, [...mounted, process.execPath, MQNBD, 'copy', ...args])
  noSpace(t, await under(source, onDisk('disk.img')), 'a file')
  noSpace(t, await under('--allocated', emptyImage(t, 20 * MiB), onDisk('disk.img')), 'and no holes')
  const server = await Mqnbd.serve(t, [onDisk('disk.img')], {
    under: onOwnDisk('-t tmpfs -o size=8m none', 20 * MiB)
  })
  noSpace(t, await mqnbd(t, 'copy', source, server.uri), 'a server')
  isRefusal(
    t,
    await run(t, 'sh', ['-c', `"$0" "$@" > /dev/full`, process.execPath, MQNBD, 'copy', source, '-']),
    1,
    /cannot write '-': .*no space left on device/,
    'standard output'
  )
})

/** A server of 8 MiB of data that answers reads by `answer`. */
async function server(t: Test, answer: (request: Request) => Buffer | 'hang up'): Promise<string> {
  const { uri } = await scriptedServer(t, async (peer) => {
    const info = optionReply(NBD_OPT_GO, NBD_REP_INFO, infoExport(BigInt(8 * MiB)))
    const answers = {
      [NBD_OPT_STRUCTURED_REPLY]: [optionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP)],
      [NBD_OPT_GO]: [info, optionReply(NBD_OPT_GO, NBD_REP_ACK)]
    }
    await handshake(peer, { answers })
    for (let request = await peer.request(); request; request = await peer.request()) {
      if (request.type !== NBD_CMD_READ) return
      const bytes = answer(request)
      if (bytes === 'hang up') return
      peer.send(bytes)
    }
  })
  return uri
}

void t.test('copy - a read that fails, and a server that goes', async (t) => {
  const good = ({ cookie, length }: Request): Buffer => simpleReply(cookie, 0, Buffer.alloc(length, 'good'))
  for (const [name, bad, why] of [
    [
      'an error',
      ({ cookie }: Request) => simpleReply(cookie, NBD_EIO),
      /cannot read 'nbd.*': .*at \d+: i\/o error/
    ],
    ['no more', () => 'hang up' as const, /cannot read 'nbd.*': .*the server closed the connection/]
  ] as const) {
    const uri = await server(t, (request) =>
      request.offset < BigInt(4 * MiB) ? good(request) : bad(request)
    )
    const file = path.join(tempDir(t), 'copy')
    isRefusal(t, await mqnbd(t, 'copy', '-R', '1', uri, file), 1, why, name)
    t.equal(fs.statSync(file).size, 8 * MiB)
    t.ok(readAt(file, 0, 4 * MiB).equals(Buffer.alloc(4 * MiB, 'good')), 'what was copied stays')
  }
})

void t.test('copy - a signal ends it at once', async (t) => {
  let asked = 0
  // Never answers.
  const uri = await server(t, () => (asked++, Buffer.alloc(0)))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    asked = 0
    const copying = new Launched(t, process.execPath, [MQNBD, 'copy', uri, 'null:'])
    await waitFor('the first request', () => asked > 0)
    const ended = await copying.end(signal)
    t.same(ended, { status: null, signal })
    t.equal(copying.stderr, '')
  }
})
