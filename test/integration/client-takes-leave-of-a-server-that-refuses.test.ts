import { constants } from 'node:os'
import t from 'tap'
import { connect } from '../../client/index.ts'
import {
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNKNOWN
} from '../helpers/raw-constants.ts'
import { u32 } from '../helpers/raw-wire.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { go, reply, serverWith } from '../unit/client/helpers/handshakes.ts'
import { greeting, infoExport, optionReply, scriptedServer } from '../unit/client/helpers/scripted-server.ts'

const { EINVAL, ENOENT, ENOTSUP, EPERM } = constants.errno

const refusals: Record<string, { answers: Record<number, Buffer[]>; errno: number; why: RegExp }> = {
  'an unknown export': {
    answers: reply(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, Buffer.from('no\u001b[1mdisk')),
    errno: ENOENT,
    why: /NBD_OPT_GO: the server has no such export \(server: no \[1mdisk\)$/
  },
  'a forbidden export': {
    answers: reply(NBD_OPT_GO, NBD_REP_ERR_POLICY),
    errno: EPERM,
    why: /does not allow this$/
  },
  'a refusal that nobody knows': {
    answers: reply(NBD_OPT_GO, 0x80000063),
    errno: EINVAL,
    why: /the server answers reply 0x80000063/
  },
  'a server that requires TLS': {
    answers: reply(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_TLS_REQD),
    errno: ENOTSUP,
    why: /NBD_OPT_EXTENDED_HEADERS: the server requires TLS: use nbds:\/\//
  },
  'an export that requires TLS': {
    answers: reply(NBD_OPT_GO, NBD_REP_ERR_TLS_REQD),
    errno: ENOTSUP,
    why: /NBD_OPT_GO: the server requires TLS/
  },
  'a server that shuts down': {
    answers: reply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_SHUTDOWN),
    errno: 108,
    why: /the server is shutting down/
  }
}

for (const [name, { answers, errno, why }] of Object.entries(refusals)) {
  void t.test(`client - takes leave of ${name}`, async (t) => {
    let last: number | undefined
    const { uri, peers } = await scriptedServer(t, async (peer) => {
      peer.send(greeting())
      await peer.read(4)
      for (let asked = await peer.option(); asked; asked = await peer.option()) {
        last = asked.option
        const answer = answers[last] ?? [optionReply(last, NBD_REP_ACK)]
        if (last !== NBD_OPT_ABORT) peer.send(...answer)
      }
    })
    const failure = await within('an error', failureOf(connect(uri)))
    t.equal(failure.kind, 'request')
    t.equal(failure.errno, errno)
    t.match(failure.message, why)
    await waitFor('the server to see it go', () => peers[0]!.socket.readableEnded)
    t.equal(last, NBD_OPT_ABORT)
  })
}

void t.test('client - falls back to EXPORT_NAME, which has no way to refuse', async (t) => {
  for (const flags of [0, NBD_FLAG_FIXED_NEWSTYLE]) {
    const { uri } = await scriptedServer(t, async (peer) => {
      peer.send(greeting(flags))
      t.strictSame(await peer.read(4), u32(flags), 'sends no flag that was not offered')
      for (let asked = await peer.option(); asked; asked = await peer.option()) {
        if (asked.option === NBD_OPT_EXPORT_NAME) return
        peer.send(optionReply(asked.option, 0x80000001))
      }
    })
    const { kind, message } = await failureOf(connect(uri))
    t.equal(kind, 'request')
    t.match(message, /closed the connection: it has no export '', or refuses it/)
  }
})

void t.test('client - does not open what is larger than numbers are exact', async (t) => {
  for (const size of [2n ** 53n, 2n ** 64n - 1n]) {
    const uri = await serverWith(t, { answers: go(infoExport(size)) })
    const { kind, message } = await failureOf(connect(uri))
    t.equal(kind, 'request')
    t.match(message, /larger than 2\^53 - 1 bytes/)
  }
  const disk = await connect(await serverWith(t, { answers: go(infoExport(2n ** 53n - 1n)) }))
  t.equal(disk.size, 2 ** 53 - 1)
  await disk.close()
})
