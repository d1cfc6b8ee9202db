import { constants } from 'node:os'
import t from 'tap'
import { connect, list } from '../../client/index.ts'
import { MiB } from '../helpers/files.ts'
import { within } from '../helpers/wait-for.ts'
import { requires } from '../helpers/requires.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { pattern, simpleReply } from '../unit/client/helpers/reply-bytes.ts'
import { FLAGS, oldstyleGreeting, scriptedServer, SIZE } from '../unit/client/helpers/scripted-server.ts'

void t.test('client - takes what an oldstyle server tells, and asks nothing', async (t) => {
  const data = pattern(512)
  const { uri } = await scriptedServer(t, async (peer) => {
    peer.send(oldstyleGreeting())
    const request = await peer.request()
    peer.send(simpleReply(request!.cookie, 0, data))
    await peer.request()
  })
  const disk = await connect(uri)
  t.strictSame(
    [disk.handshake, disk.size, disk.packets, disk.exportName, disk.metaContexts, disk.blockSizesAdvertised],
    ['oldstyle', Number(SIZE), 'simple', '', [], false]
  )
  t.equal(disk.flags.canFlush, (FLAGS & 4) !== 0)
  t.equal(disk.readOnly, false, 'of the 32 bits of flags, the upper half is not looked at')
  t.ok((await disk.read(1024, 512)).equals(data), 'the first request and its reply are in step')
  await disk.close()
})

// nbdkit 1.32 announces all that it can do in this handshake, and then refuses all but READ and WRITE.
void t.test(
  'client - reads and writes by the oldstyle handshake of nbdkit',
  requires('nbdkit'),
  async (t) => {
    const disk = await connect((await Nbdkit.serve(t, ['--oldstyle', 'memory', '8M'])).uri)
    t.strictSame([disk.handshake, disk.size], ['oldstyle', 8 * MiB])
    const data = pattern(3 * MiB)
    await Promise.all([0, 1, 2].map((i) => disk.write(MiB + i * MiB, data.subarray(i * MiB, (i + 1) * MiB))))
    t.ok((await disk.read(MiB, 3 * MiB)).equals(data))
    t.ok((await disk.read(0, MiB)).equals(Buffer.alloc(MiB)))
    await disk.close()
  }
)

void t.test('client - an oldstyle server has no export with a name', async (t) => {
  const { uri } = await scriptedServer(t, async (peer) => peer.send(oldstyleGreeting()))
  const { kind, errno, message } = await failureOf(connect(uri.replace('///', '///disk')))
  t.strictSame([kind, errno], ['request', constants.errno.ENOENT])
  t.match(message, /the oldstyle handshake, which knows no names: it has no export 'disk'$/)
})

void t.test('client - an oldstyle server lists nothing', requires('nbdkit'), async (t) => {
  const { uri } = await Nbdkit.serve(t, ['-o', 'null', '1M'])
  const { kind, errno, message } = await failureOf(list(uri))
  t.strictSame([kind, errno], ['request', constants.errno.ENOTSUP])
  t.match(message, /: the server does not list its exports: its handshake, oldstyle, has no way to$/)
})

void t.test('client - an oldstyle handshake that is cut off', async (t) => {
  const whole = oldstyleGreeting()
  for (const length of [1, 8, 15, 16, 17, 27, 28, 29, 151]) {
    const { uri } = await scriptedServer(t, async (peer) => peer.send(whole.subarray(0, length)))
    const { kind, message } = await within('an error', failureOf(connect(uri)))
    t.equal(kind, 'transport', `after ${length} bytes`)
    t.match(message, /the peer closed the connection/)
  }
})
