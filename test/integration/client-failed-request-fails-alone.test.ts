import * as fs from 'node:fs'
import { constants } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { connect, NBDError } from '../../client/index.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'

const { EIO, ENOSPC } = constants.errno
const BLOCK = 4096
const COUNT = 200

for (const [name, args] of Object.entries({ structured: [], simple: ['--no-sr'] })) {
  void t.test(`client - a failed read fails alone: ${name} replies`, requires('nbdkit'), async (t) => {
    const { uri } = await Nbdkit.serve(t, [
      ...args,
      '--filter=error',
      'pattern',
      '16M',
      'error-pread-rate=30%',
      'error=EIO'
    ])
    const disk = await connect(uri)
    t.teardown(() => disk.close())
    const reads = await Promise.allSettled(
      Array.from({ length: COUNT }, (_, i) => disk.read(i * BLOCK, BLOCK))
    )
    let [failed, wrong] = [0, 0]
    reads.forEach((read, i) => {
      if (read.status === 'rejected') {
        failed++
        if (!NBDError.is(read.reason) || read.reason.kind !== 'request' || read.reason.errno !== EIO) wrong++
        else if (!read.reason.message.startsWith(`NBD_CMD_READ of ${BLOCK} bytes at ${i * BLOCK}: i/o error`))
          wrong++
      } else if (Number(read.value.readBigUInt64BE(0)) !== i * BLOCK) {
        // nbdkit's pattern is the offset of each 8 bytes.
        wrong++
      }
    })
    t.equal(wrong, 0)
    t.ok(failed > 0 && failed < COUNT, `${failed} of ${COUNT} failed`)
    t.equal(disk.state, 'READY')
  })
}

void t.test('client - recovers when the server does', requires('nbdkit'), async (t) => {
  const trigger = path.join(tempDir(t), 'fail')
  const { uri } = await Nbdkit.serve(t, [
    '--filter=error',
    'memory',
    '1M',
    'error-pwrite=ENOSPC',
    'error-pwrite-rate=100%',
    `error-pwrite-file=${trigger}`
  ])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  const data = Buffer.alloc(100_000, 0x5a)
  await disk.write(0, data)
  fs.writeFileSync(trigger, '')
  const { kind, errno } = await failureOf(disk.write(0, Buffer.alloc(100_000)))
  t.strictSame([kind, errno], ['request', ENOSPC])
  t.ok((await disk.read(0, data.length)).equals(data), 'reads go on')
  fs.unlinkSync(trigger)
  await disk.write(0, Buffer.alloc(512))
})

void t.test('client - leaves a server that shuts down, in order', requires('nbdkit'), async (t) => {
  const trigger = path.join(tempDir(t), 'fail')
  const log = ['--filter=log', `logfile=${path.join(tempDir(t), 'log')}`]
  const { uri } = await Nbdkit.serve(t, [
    log[0]!,
    '--filter=error',
    'memory',
    '1M',
    log[1]!,
    'error=ESHUTDOWN',
    'error-rate=100%',
    `error-file=${trigger}`
  ])
  const disk = await connect(uri)
  t.teardown(() => disk.close())
  fs.writeFileSync(trigger, '')
  const { kind, message } = await failureOf(disk.read(0, 512))
  t.equal(kind, 'request')
  t.match(message, /the server is shutting down/)
  t.equal(disk.state, 'DEAD')
  const later = await failureOf(disk.read(0, 512))
  t.equal(later.kind, 'transport')
  t.equal(later.message, 'NBD_CMD_READ of 512 bytes at 0: the server is shutting down')
  await disk.close()
  await waitFor('the server to see the client leave', () =>
    /Disconnect/.test(fs.readFileSync(log[1]!.slice('logfile='.length), 'utf8'))
  )
})
