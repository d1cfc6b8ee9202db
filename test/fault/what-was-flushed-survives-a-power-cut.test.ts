import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { KiB, MiB, readAt } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, NBD_CMD_WRITE } from '../helpers/raw-constants.ts'
import { program, requires, type Test } from '../helpers/requires.ts'
import { onDisk, onOwnDisk, requiresLoopMount } from '../helpers/small-disk.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const LENGTH = 256 * KiB

const peers = { ...requires('mkfs.ext4', 'e2fsck', 'debugfs'), ...requiresLoopMount() }

/** The image in a file system whose disk is a file, as a machine would find it that boots from this moment's disk. */
async function imageAfterPowerCut(t: Test, disk: string): Promise<string> {
  const folder = tempDir(t)
  const [copy, image] = [path.join(folder, 'disk'), path.join(folder, 'image')]
  fs.copyFileSync(disk, copy)
  // Replays the journal: status 1 says that it did.
  const { status } = await run(t, program('e2fsck'), ['-fy', copy])
  t.ok(status! <= 1, 'the file system is sound')
  await runOk(t, program('debugfs'), ['-R', `dump /disk.img ${image}`, copy])
  return image
}

void t.test('power cut - the disk has what a flush, or FUA, was answered for', peers, async (t) => {
  const disk = path.join(tempDir(t), 'disk')
  fs.writeFileSync(disk, '')
  fs.truncateSync(disk, 64 * MiB)
  await runOk(t, program('mkfs.ext4'), ['-q', disk])
  const server = await Mqnbd.serve(t, [onDisk('disk.img')], { under: onOwnDisk(`-o loop ${disk}`, 32 * MiB) })
  const client = await RawClient.transmit(t, server)

  const flushed = crypto.randomBytes(LENGTH)
  await client.call({ type: NBD_CMD_WRITE, offset: MiB, payload: flushed })
  t.equal((await client.call({ type: NBD_CMD_FLUSH })).error, 0)
  const first = await imageAfterPowerCut(t, disk)
  t.ok(readAt(first, MiB, LENGTH).equals(flushed), 'what was flushed')

  const forced = crypto.randomBytes(LENGTH)
  const write = { type: NBD_CMD_WRITE, flags: NBD_CMD_FLAG_FUA, offset: 9 * MiB + 1, payload: forced }
  t.equal((await client.call(write)).error, 0)
  const second = await imageAfterPowerCut(t, disk)
  t.ok(readAt(second, MiB, LENGTH).equals(flushed), 'what was flushed before')
  t.ok(readAt(second, 9 * MiB + 1, LENGTH).equals(forced), 'what was written with FUA')
})
