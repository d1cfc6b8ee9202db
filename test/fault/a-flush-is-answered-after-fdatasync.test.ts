import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { directImage } from '../helpers/direct-folder.ts'
import { MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES
} from '../helpers/raw-constants.ts'
import type { RawRequest } from '../helpers/raw-wire.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'

const payload = Buffer.alloc(4096, 'data')
const flags = NBD_CMD_FLAG_FUA

/** What is asked, one after the other. The trace is looked at from the first reply on. */
const steps = [
  { name: 'READ at the beginning', type: NBD_CMD_READ, length: 4096 },
  { name: 'WRITE', type: NBD_CMD_WRITE, payload },
  { name: 'FLUSH', type: NBD_CMD_FLUSH },
  { name: 'READ', type: NBD_CMD_READ, length: 4096 },
  { name: 'WRITE with FUA', type: NBD_CMD_WRITE, payload, flags },
  { name: 'WRITE_ZEROES', type: NBD_CMD_WRITE_ZEROES, length: 4096 },
  { name: 'WRITE_ZEROES with FUA', type: NBD_CMD_WRITE_ZEROES, length: 4096, flags },
  { name: 'TRIM', type: NBD_CMD_TRIM, length: 4096 },
  { name: 'TRIM with FUA', type: NBD_CMD_TRIM, length: 4096, flags }
] as const satisfies (RawRequest & { name: string })[]
type StepName = (typeof steps)[number]['name']

/** Of what data must be on the disk when the answer comes. */
const WRITEBACK: StepName[] = ['FLUSH', 'WRITE with FUA', 'WRITE_ZEROES with FUA', 'TRIM with FUA']
const WRITETHROUGH: StepName[] = [...WRITEBACK, 'WRITE', 'WRITE_ZEROES']

/** How strace -xx prints the head of a simple reply, up to and with the cookie. */
const replyText = (cookie: number): string =>
  [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, cookie]
    .map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`)
    .join('')

/** @param what of the server's command line, with IMAGE in place of the image's path */
async function check(t: Test, synced: StepName[], direct: boolean, what: string[]): Promise<void> {
  const log = path.join(tempDir(t), 'strace')
  const calls = 'trace=openat,fsync,fdatasync,sync_file_range,send,sendto,sendmsg,write,writev'
  // -D: the tracer is the child, so that the server has the process id that we know.
  const strace = [program('strace'), '-D', '-f', '-q', '-xx', '-s', '16', '-e', calls, '-o', log]
  const image = directImage(t, MiB)
  const args = what.map((word) => word.replace('IMAGE', image))
  const server = await Mqnbd.serve(t, args, { under: strace })
  const client = await RawClient.transmit(t, server)
  for (const [i, step] of steps.entries()) {
    const { error } = await client.call({ ...step, cookie: BigInt(i + 1) })
    t.equal(error, 0, step.name)
  }
  const done = await waitFor('the last reply in the trace', () => {
    const text = fs.readFileSync(log, 'utf8')
    return text.includes(replyText(steps.length)) ? text.split('\n') : undefined
  })

  let from = done.findIndex((line) => line.includes(replyText(1))) + 1
  t.ok(from > 0, 'the trace has the first reply')
  for (const [i, { name }] of steps.entries()) {
    if (i === 0) continue
    const to = done.findIndex((line) => line.includes(replyText(i + 1)))
    const between = done.slice(from, to)
    const returned = between.filter((line) => /fdatasync.*= 0$/.test(line))
    const isSynced = synced.includes(name)
    const text = isSynced ? 'fdatasync has returned before the reply' : 'does not wait for fdatasync'
    t.equal(returned.length, isSynced ? 1 : 0, `${name}: ${text}`)
    from = to + 1
  }
  t.equal(
    done.some((line) => /openat\(.*O_RDWR.*O_DIRECT/.test(line)),
    direct,
    'whether it goes around the page cache'
  )
}

void t.test('flush - is answered when fdatasync has returned, not before', requires('strace'), async (t) => {
  await check(t, WRITEBACK, false, ['IMAGE'])
})

void t.test('flush - also around the page cache', requires('strace'), async (t) => {
  await check(t, WRITEBACK, true, ['IMAGE', '--cache', 'none'])
})

void t.test('cache modes - writethrough: each write is one with FUA', requires('strace'), async (t) => {
  await check(t, WRITETHROUGH, false, ['IMAGE', '--cache', 'writethrough'])
})

void t.test('cache modes - directsync: that, around the page cache', requires('strace'), async (t) => {
  await check(t, WRITETHROUGH, true, ['IMAGE', '--cache', 'directsync'])
})

void t.test('cache modes - unsafe: nothing is brought to the disk', requires('strace'), async (t) => {
  await check(t, [], false, ['IMAGE', '--cache', 'unsafe'])
})

void t.test('cache modes - of nodes and exports', requires('strace'), async (t) => {
  const exported = ['--export', 'nbd,id=e,node-name=a,writable=on']
  await t.test('cache.no-flush', async (t) => {
    await check(t, [], false, [
      '--blockdev',
      'file,node-name=a,filename=IMAGE,cache.no-flush=on',
      ...exported
    ])
  })
  await t.test('writethrough', async (t) => {
    const [option, value] = exported
    await check(t, WRITETHROUGH, false, [
      '--blockdev',
      'file,node-name=a,filename=IMAGE',
      option!,
      `${value},writethrough=on`
    ])
  })
})
