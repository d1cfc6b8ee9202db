import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import t from 'tap'
import { imageOf, KiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { tryQemuIo } from '../helpers/qemu-io.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EPERM
} from '../helpers/raw-constants.ts'
import { requires } from '../helpers/requires.ts'

void t.test('read-only - qemu-io cannot write, and nothing changes', requires('qemu-io'), async (t) => {
  const bytes = crypto.randomBytes(64 * KiB)
  const image = imageOf(t, bytes)
  const server = await Mqnbd.serve(t, [image, '-r'])
  for (const command of ['write -P 1 0 4k', 'write -z 0 4k', 'discard 0 4k']) {
    const { status, stdout, stderr } = await tryQemuIo(t, server.uri, [], command)
    t.not(status, 0, command)
    t.match(stdout + stderr, /permission|not permitted|read-only/i)
  }
  t.ok(fs.readFileSync(image).equals(bytes), 'nothing has changed')
})

void t.test('read-only - a client that tries all the same gets EPERM', async (t) => {
  const bytes = crypto.randomBytes(64 * KiB)
  const image = imageOf(t, bytes)
  const client = await RawClient.transmit(t, await Mqnbd.serve(t, [image, '-r']))
  const writes = [
    { type: NBD_CMD_WRITE, payload: Buffer.alloc(4096) },
    { type: NBD_CMD_WRITE_ZEROES, length: 4096 },
    { type: NBD_CMD_TRIM, length: 4096 }
  ]
  for (const write of writes) t.equal((await client.call(write)).error, NBD_EPERM)
  const { data } = await client.call({ type: NBD_CMD_READ, length: 64 * KiB })
  t.ok(data.equals(bytes), 'reading goes on')
  t.ok(fs.readFileSync(image).equals(bytes), 'nothing has changed')
})
