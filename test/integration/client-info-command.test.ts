import * as net from 'node:net'
import * as path from 'node:path'
import t from 'tap'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { imageOf } from '../helpers/files.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import {
  handshake,
  infoText,
  optionReply,
  infoExport,
  scriptedServer
} from '../unit/client/helpers/scripted-server.ts'
import {
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_GO,
  NBD_REP_ACK,
  NBD_REP_INFO
} from '../helpers/raw-constants.ts'

void t.test('info - prints what our server tells', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:3M', '-x', 'my disk', '-D', 'all of it'])
  const { status, stdout, stderr } = await mqnbd(t, 'info', '--no-content', server.uri)
  t.equal(stderr, '')
  t.equal(status, 0)
  t.equal(
    stdout,
    [
      'protocol: newstyle-fixed without TLS, using extended packets',
      'export="my disk":',
      '\tdescription: all of it',
      '\texport-size: 3145728 (3M)',
      `\turi: ${server.uri}`,
      '\tcontexts:',
      '\t\tbase:allocation',
      '\tis_rotational: false',
      '\tis_read_only: false',
      '\tcan_block_status_payload: false',
      '\tcan_cache: true',
      '\tcan_df: true',
      '\tcan_fast_zero: true',
      '\tcan_flush: true',
      '\tcan_fua: true',
      '\tcan_multi_conn: true',
      '\tcan_trim: true',
      '\tcan_zero: true',
      '\tblock_size_minimum: 1',
      '\tblock_size_preferred: 4096 (4K)',
      '\tblock_size_maximum: 33554432 (32M)',
      ''
    ].join('\n')
  )
})

void t.test('info - --size prints the size only', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1000', '-b', '127.0.0.1', '-p', '0'])
  t.match(await mqnbd(t, 'info', '--size', server.uri), { status: 0, stdout: '1000\n', stderr: '' })
  t.match(await mqnbd(t, 'info', server.uri, '--size'), { status: 0, stdout: '1000\n', stderr: '' })
})

void t.test('info - says what an export holds, where that can be told', requires('file'), async (t) => {
  const script = imageOf(t, Buffer.from('#!/bin/sh\nexit 0\n'))
  const { uri } = await Mqnbd.serve(t, [script, '-f', 'raw'])
  t.match((await mqnbd(t, 'info', uri)).stdout, /^\tcontent: POSIX shell script.*\n\turi: /m)
  t.match((await mqnbd(t, 'info', '--list', '--content', uri)).stdout, /^\tcontent: POSIX shell script/m)
  t.notMatch((await mqnbd(t, 'info', '--list', uri)).stdout, /content/)
  t.notMatch((await mqnbd(t, 'info', '--no-content', uri)).stdout, /content/)
})

void t.test('info - does not let a server write to the terminal', async (t) => {
  const infos = [
    infoExport(),
    infoText(NBD_INFO_NAME, 'a\u001b]0;x\u0007'),
    infoText(NBD_INFO_DESCRIPTION, 'b\r\n\u001b[2J\u009b1m')
  ]
  const go = infos.map((info) => optionReply(NBD_OPT_GO, NBD_REP_INFO, info))
  const { uri } = await scriptedServer(t, async (peer) => {
    await handshake(peer, { answers: { [NBD_OPT_GO]: [...go, optionReply(NBD_OPT_GO, NBD_REP_ACK)] } })
    while (await peer.request());
  })
  const { stdout } = await mqnbd(t, 'info', '--no-content', uri)
  t.match(stdout, 'export="a ]0;x ":')
  t.match(stdout, 'description: b [2J 1m')
  // eslint-disable-next-line no-control-regex
  t.notMatch(stdout, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/)
})

void t.test('info - one line and status 1 when there is nothing to be told', async (t) => {
  const folder = tempDir(t)
  const closed = net.createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await new Promise((resolve) => closed.once('listening', resolve))
  t.teardown(() => closed.close())
  const { port } = closed.address() as net.AddressInfo
  const server = await Mqnbd.serve(t, ['memory:1M', '-x', 'disk'])
  const none = server.uri.replace('/disk?', '/none?')
  const missing = `nbd+unix:///?socket=${path.join(folder, 'missing')}`
  const long = `nbd+unix:///?socket=/${'x'.repeat(107)}`
  const failures: [string, RegExp][] = [
    ['nowhere', /^mqnbd: 'nowhere' cannot be used as an NBD URI: it must begin with 'nbd:\/\/'/],
    ['nbds://localhost?tls-type=anon', /: 'tls-type=anon' is not supported: whoever .*$/],
    ['nbds://localhost?tls-certificates=/no/folder', /cannot look into '\/no\/folder': no such file/],
    ['nbd://localhost?foo=1', /: the parameter 'foo' is unknown$/],
    [missing, /^mqnbd: cannot open '.*missing': no such file or directory$/],
    [long, /: the path of a socket is at most 107 bytes long$/],
    ['nbd://no-such-host.invalid', /: (there is no such host|the host cannot be looked up)$/],
    [
      `nbd://127.0.0.1:${port}`,
      /: (the peer closed the connection|receiving: connection reset by peer|connection reset by peer)$/
    ],
    [none, /: the server has no such export \(server: there is no export 'none'\)$/]
  ]
  for (const [uri, why] of failures) {
    const { status, stdout, stderr } = await mqnbd(t, 'info', uri)
    t.equal(status, 1, uri)
    t.equal(stdout, '', uri)
    const lines = stderr.split('\n')
    t.strictSame(lines.slice(1), [''], `one line: ${stderr}`)
    t.match(lines[0], why)
  }
})

void t.test('info - says what is missing', async (t) => {
  const { status, stdout, stderr } = await mqnbd(t, 'info')
  t.not(status, 0)
  t.equal(stdout, '')
  t.match(stderr, /^mqnbd: info: which URI\?.*\n$/)
})
