import * as fs from 'node:fs'
import { constants } from 'node:os'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect, type NBDDisk, type NBDPackets } from '../../client/index.ts'
import { KiB, MiB } from '../helpers/files.ts'
import { requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { pattern } from '../unit/client/helpers/reply-bytes.ts'

const { EINVAL, EIO, ENOSPC, ENOTSUP, EPERM } = constants.errno

async function diskOf(t: Test, ...args: string[]): Promise<NBDDisk> {
  const disk = await connect((await Nbdkit.serve(t, args)).uri)
  t.teardown(() => disk.close())
  return disk
}

for (const form of [[], ['--no-sr']]) {
  const name = ['the error filter', ...form].join(', ')
  void t.test(`client, nbdkit - a failed request fails alone: ${name}`, requires('nbdkit'), async (t) => {
    const trigger = path.join(tempDir(t), 'fail')
    const failing = ['error=ENOSPC', 'error-rate=100%', `error-file=${trigger}`]
    const disk = await diskOf(t, ...form, '--filter=error', 'memory', '4M', ...failing)
    const data = pattern(64 * KiB)
    await disk.write(0, data)
    fs.writeFileSync(trigger, '')
    const calls = [
      () => disk.read(0, 4096),
      () => disk.write(0, data),
      () => disk.zero(0, 4096),
      () => disk.trim(0, 4096),
      () => disk.cache(0, 4096)
    ]
    for (const call of calls) t.match(await failureOf(call()), { kind: 'request', errno: ENOSPC })
    fs.unlinkSync(trigger)
    t.ok((await disk.read(0, 64 * KiB)).equals(data), 'the connection is as good as before')
    t.equal(disk.state, 'READY')
  })
}

void t.test(
  'client, nbdkit - some of many requests fail, and none is mistaken',
  requires('nbdkit'),
  async (t) => {
    const failing = ['--filter=error', 'error-pread=EIO', 'error-pread-rate=50%']
    const disk = await diskOf(t, ...failing.slice(0, 1), 'memory', '4M', ...failing.slice(1))
    const data = pattern(4 * MiB)
    await disk.write(0, data)
    let [good, bad] = [0, 0]
    // Until there were both kinds: who fails is up to chance.
    for (let round = 0; round < 20 && (good === 0 || bad === 0); round++) {
      const offsets = Array.from({ length: 64 }, (_, i) => i * 64 * KiB)
      const results = await Promise.allSettled(offsets.map((offset) => disk.read(offset, 64 * KiB)))
      results.forEach((result, i) => {
        if (result.status === 'fulfilled') {
          good++
          const expected = data.subarray(offsets[i], offsets[i]! + 64 * KiB)
          if (!result.value.equals(expected)) t.fail(`wrong data at ${offsets[i]}`)
        } else {
          bad++
          t.match(result.reason, { kind: 'request', errno: EIO })
        }
      })
    }
    t.ok(good > 0 && bad > 0, `${good} succeeded, ${bad} failed`)
  }
)

void t.test('client, nbdkit - requests that take long overlap', requires('nbdkit'), async (t) => {
  const disk = await diskOf(t, '--filter=delay', 'memory', '4M', 'rdelay=20ms', 'wdelay=20ms')
  const data = pattern(MiB)
  const parts = Array.from({ length: 16 }, (_, i) => i * 64 * KiB)
  await Promise.all(parts.map((at) => disk.write(at, data.subarray(at, at + 64 * KiB))))
  const read = await Promise.all(parts.map((at) => disk.read(at, 64 * KiB)))
  t.ok(Buffer.concat(read).equals(data))
})

void t.test(
  'client, nbdkit - block sizes are obeyed before the server has to complain',
  requires('nbdkit'),
  async (t) => {
    const policy = ['blocksize-minimum=4K', 'blocksize-preferred=64K', 'blocksize-maximum=256K']
    const disk = await diskOf(
      t,
      '--filter=blocksize-policy',
      'memory',
      '4M',
      ...policy,
      'blocksize-error-policy=error'
    )
    t.strictSame(disk.blockSizes, { minimum: 4 * KiB, preferred: 64 * KiB, maximum: 256 * KiB })
    t.equal(disk.blockSizesAdvertised, true)
    t.match(await failureOf(disk.read(512, 4096)), {
      kind: 'request',
      errno: EINVAL,
      message: /minimum block size, 4096/
    })
    t.match(await failureOf(disk.write(0, Buffer.alloc(100))), { kind: 'request', errno: EINVAL })
    const data = pattern(MiB)
    await disk.write(MiB, data)
    t.ok((await disk.read(MiB, MiB)).equals(data), 'longer than the maximum: in parts')
  }
)

for (const [mode, expected] of [
  ['emulate', true],
  ['disable', false]
] as const) {
  void t.test(`client, nbdkit - several connections: ${mode}`, requires('nbdkit'), async (t) => {
    const server = await Nbdkit.serve(t, ['--filter=multi-conn', 'memory', '1M', `multi-conn-mode=${mode}`])
    const [one, other] = await Promise.all([connect(server.uri), connect(server.uri)])
    t.equal(one.flags.canMultiConn, expected)
    await one.write(0, Buffer.alloc(512, 7))
    await one.flush()
    t.ok((await other.read(0, 512)).equals(Buffer.alloc(512, 7)))
    await Promise.all([one.close(), other.close()])
  })
}

void t.test('client, nbdkit - what is not offered is not asked for', requires('nbdkit'), async (t) => {
  const filters = ['--filter=nozero', '--filter=nocache']
  const disk = await diskOf(t, ...filters, 'memory', '1M', 'zeromode=none', 'cachemode=none')
  t.match(disk.flags, { canZero: false, canFastZero: false, canCache: false })
  for (const call of [() => disk.zero(0, 512), () => disk.cache(0, 512)])
    t.match(await failureOf(call()), { kind: 'request', errno: ENOTSUP })
  const readOnly = await diskOf(t, '-r', 'memory', '1M')
  t.match(await failureOf(readOnly.write(0, Buffer.alloc(512))), { kind: 'request', errno: EPERM })
})

const handshakes: Record<string, [args: string[], handshake: string, packets: NBDPackets]> = {
  'no fixed newstyle': [['--mask-handshake=0'], 'newstyle', 'simple'],
  'no fixed newstyle, but no zeroes': [['--mask-handshake=2'], 'newstyle', 'simple'],
  'fixed newstyle with zeroes': [['--mask-handshake=1'], 'newstyle-fixed', 'structured'],
  'simple replies': [['--no-sr'], 'newstyle-fixed', 'simple'],
  oldstyle: [['-o'], 'oldstyle', 'simple']
}

for (const [name, [args, handshake, packets]] of Object.entries(handshakes)) {
  void t.test(
    `client, nbdkit - reads and writes after any handshake: ${name}`,
    requires('nbdkit'),
    async (t) => {
      const disk = await diskOf(t, ...args, 'memory', '4M')
      t.strictSame([disk.handshake, disk.packets, disk.size], [handshake, packets, 4 * MiB])
      t.strictSame(disk.metaContexts, packets === 'structured' ? ['base:allocation'] : [])
      const data = pattern(100_000)
      await disk.write(77, data)
      t.ok((await disk.read(77, 100_000)).equals(data))
    }
  )
}
