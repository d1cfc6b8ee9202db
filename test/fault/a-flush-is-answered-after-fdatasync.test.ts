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

/** What is asked, one after the other, and whether data must be on the disk when the answer comes. */
const steps: (RawRequest & { name: string; synced: boolean })[] = [
  { name: 'WRITE', synced: false, type: NBD_CMD_WRITE, payload },
  { name: 'FLUSH', synced: true, type: NBD_CMD_FLUSH },
  { name: 'READ', synced: false, type: NBD_CMD_READ, length: 4096 },
  { name: 'WRITE with FUA', synced: true, type: NBD_CMD_WRITE, payload, flags },
  { name: 'WRITE_ZEROES', synced: false, type: NBD_CMD_WRITE_ZEROES, length: 4096 },
  { name: 'WRITE_ZEROES with FUA', synced: true, type: NBD_CMD_WRITE_ZEROES, length: 4096, flags },
  { name: 'TRIM', synced: false, type: NBD_CMD_TRIM, length: 4096 },
  { name: 'TRIM with FUA', synced: true, type: NBD_CMD_TRIM, length: 4096, flags }
]

/** How strace -xx prints the head of a simple reply, up to and with the cookie. */
const replyText = (cookie: number): string =>
  [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, cookie]
    .map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`)
    .join('')

async function check(t: Test, ...options: string[]): Promise<void> {
  const log = path.join(tempDir(t), 'strace')
  const calls = 'trace=fsync,fdatasync,sync_file_range,send,sendto,sendmsg,write,writev'
  // -D: the tracer is the child, so that the server has the process id that we know.
  const strace = [program('strace'), '-D', '-f', '-q', '-xx', '-s', '16', '-e', calls, '-o', log]
  const server = await Mqnbd.serve(t, [directImage(t, MiB), ...options], { under: strace })
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
  for (const [i, { name, synced }] of steps.entries()) {
    if (i === 0) continue
    const to = done.findIndex((line) => line.includes(replyText(i + 1)))
    const between = done.slice(from, to)
    const returned = between.filter((line) => /fdatasync.*= 0$/.test(line))
    const what = synced ? 'fdatasync has returned before the reply' : 'does not wait for fdatasync'
    t.equal(returned.length, synced ? 1 : 0, `${name}: ${what}`)
    from = to + 1
  }
}

void t.test('flush - is answered when fdatasync has returned, not before', requires('strace'), async (t) => {
  await check(t)
})

void t.test('flush - also around the page cache', requires('strace'), async (t) => {
  await check(t, '--cache', 'none')
})
