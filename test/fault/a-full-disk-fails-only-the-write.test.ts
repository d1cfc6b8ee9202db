import * as fs from 'node:fs'
import t from 'tap'
import { KiB, MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import {
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_ENOSPC
} from '../helpers/raw-constants.ts'
import { fromOutside, onDisk, onOwnDisk, requiresMount } from '../helpers/small-disk.ts'

const IMAGE = 64 * MiB

void t.test(
  'full disk - only what needs room fails, and works when there is room',
  requiresMount(),
  async (t) => {
    const under = onOwnDisk('-t tmpfs -o size=8m none', IMAGE)
    const server = await Mqnbd.serve(t, [onDisk('disk.img')], { under })
    const filler = fromOutside(server.process, 'filler')
    fs.writeFileSync(filler, Buffer.alloc(2 * MiB))

    const client = await RawClient.transmit(t, server)
    const other = await RawClient.transmit(t, server)
    const write = async (offset: number, length: number): Promise<number> =>
      (await client.call({ type: NBD_CMD_WRITE, offset, payload: Buffer.alloc(length, 'data') })).error

    t.equal(await write(0, 4 * MiB), 0, 'there is room for this')
    t.equal(await write(8 * MiB, 4 * MiB), NBD_ENOSPC, 'and none for that')
    let full = 0
    // One by one, small enough to be tried at once.
    for (let offset = 20 * MiB; offset < 30 * MiB && full === 0; offset += 64 * KiB)
      full = await write(offset, 64 * KiB)
    t.equal(full, NBD_ENOSPC, 'nor for small writes, in the end')

    const zeroes = {
      type: NBD_CMD_WRITE_ZEROES,
      flags: NBD_CMD_FLAG_NO_HOLE,
      offset: 40 * MiB,
      length: 8 * MiB
    }
    t.equal((await client.call(zeroes)).error, NBD_ENOSPC, 'nor for zeroes that are to be allocated')
    t.equal((await client.call({ ...zeroes, flags: 0 })).error, 0, 'a hole needs no room')
    t.equal(await write(4096, 100_000), 0, 'nor does what is allocated already')
    const { error, data } = await other.call({ type: NBD_CMD_READ, offset: 0, length: 4 * MiB })
    t.equal(error, 0)
    t.ok(data.equals(Buffer.alloc(4 * MiB, 'data')), 'reading goes on')
    t.equal((await other.call({ type: NBD_CMD_FLUSH })).error, 0, 'and flushing')

    fs.rmSync(filler)
    t.equal(await write(50 * MiB, MiB), 0, 'room that somebody else made is used')
    t.equal((await other.call({ type: NBD_CMD_TRIM, offset: 0, length: 4 * MiB })).error, 0)
    t.equal(await write(52 * MiB, 3 * MiB), 0, 'and room that TRIM made')
    t.same(await server.process.end(), { status: 0, signal: null })
  }
)
