/** A disk image with a real file system, full of this machine's own files. */
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'
import { runOk } from './launched.ts'
import { program } from './requires.ts'
import { tempDir } from './temp-dir.ts'

const MiB = 1024 * 1024
const IMAGE_SIZE = 256 * MiB
/** Enough to be worth copying, and so little that a good part of the image stays a hole. */
const MIN_CONTENT = 8 * MiB
const MAX_CONTENT = 160 * MiB

// What Debian's smallest installation has comes last.
const folders = [
  '/usr/lib/python3',
  '/usr/lib/git-core',
  '/usr/share/perl',
  '/usr/share/locale',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/sbin',
  '/usr/bin',
  '/usr/share'
]

/** Bytes of the files in a folder, or 0 where there is none or not all of it can be read. */
function contentSize(folder: string): number {
  const { status, stdout } = spawnSync('du', ['-sk', folder], { encoding: 'utf8' })
  return status === 0 ? parseInt(stdout) * 1024 : 0
}

/** Needs mkfs.ext4. @returns the path of a new image, removed with the test */
export async function ext4Image(t: Test): Promise<string> {
  const folder = folders.find((name) => {
    const size = contentSize(name)
    return size >= MIN_CONTENT && size <= MAX_CONTENT
  })
  if (folder === undefined) throw new Error(`none of ${folders.join(', ')} is of a size that fits`)
  const image = path.join(tempDir(t), 'ext4.img')
  fs.writeFileSync(image, '')
  fs.truncateSync(image, IMAGE_SIZE)
  await runOk(t, program('mkfs.ext4'), ['-q', '-d', folder, image])
  return image
}
