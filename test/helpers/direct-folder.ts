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

/** Descriptors that this process has of a file, with the flags that they were opened with, or have now. */
export function descriptorsOf(file: string): { fd: string; flags: number }[] {
  const target = fs.realpathSync(file)
  const found = fs.readdirSync('/proc/self/fd').filter((fd) => isLink(`/proc/self/fd/${fd}`, target))
  return found.map((fd) => {
    const [, flags] = /flags:\s*(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))!
    return { fd, flags: parseInt(flags!, 8) }
  })
}

function isLink(link: string, target: string): boolean {
  try {
    return fs.readlinkSync(link) === target
  } catch {
    // The one that listed them is gone.
    return false
  }
}
