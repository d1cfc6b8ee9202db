/** Where files can be read and written around the page cache. */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import type { Scope } from './scope.ts'

/** An empty folder on a file system that knows O_DIRECT, removed with the test. */
export function directFolder(t: Scope): string {
  const places = [os.tmpdir(), '/var/tmp', process.cwd()]
  for (const place of places) {
    const folder = fs.mkdtempSync(path.join(place, 'mqnbd-'))
    t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }))
    if (knowsDirect(folder)) return folder
  }
  throw new Error(`none of ${places.join(', ')} is on a file system with O_DIRECT`)
}

function knowsDirect(folder: string): boolean {
  const file = path.join(folder, 'probe')
  fs.writeFileSync(file, '')
  try {
    fs.closeSync(fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_DIRECT))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return false
    throw error
  } finally {
    fs.unlinkSync(file)
  }
}

/** An image of so many bytes that is one hole, in such a folder. @returns its path */
export function directImage(t: Scope, size: number): string {
  const image = path.join(directFolder(t), 'disk.img')
  fs.writeFileSync(image, '')
  fs.truncateSync(image, size)
  return image
}
