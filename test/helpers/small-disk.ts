/**
 * A disk of a server's own, mounted where only the server sees it: in a mount namespace, which ends with the server,
 * however that ends. So a test leaves no mount behind.
 */
import { spawnSync } from 'node:child_process'
import * as path from 'node:path'
import type { Launched } from './launched.ts'
import { findProgram } from './requires.ts'

/** Where such a disk is mounted: a folder that every system has, and that a server needs nothing of. */
const MOUNT_POINT = '/mnt'

/** Options for a test that mounts: it is skipped where that is not allowed. */
export function requiresMount(): { skip?: string } {
  const unshare = findProgram('unshare')
  if (unshare === undefined) return { skip: 'no unshare' }
  const script = `mount -t tmpfs none ${MOUNT_POINT}`
  if (spawnSync(unshare, ['-m', 'sh', '-c', script]).status === 0) return {}
  return { skip: 'mounting is not allowed here' }
}

/** As `requiresMount`, for mounting a file: that needs a loop device, too. */
export function requiresLoopMount(): { skip?: string } {
  if (requiresMount().skip !== undefined) return requiresMount()
  return spawnSync('losetup', ['-f']).status === 0 ? {} : { skip: 'there are no loop devices' }
}

/** A path on the disk, as the server sees it. */
export const onDisk = (name: string): string => path.join(MOUNT_POINT, name)

/** The same path, as everybody else sees it while the server runs. */
export const fromOutside = (server: Launched, name: string): string =>
  `/proc/${server.pid}/root${onDisk(name)}`

/** For `under` of `Mqnbd.serve`: mounts the disk, and makes there a sparse file `disk.img` of `size` bytes. */
export const onOwnDisk = (mountArguments: string, size: number): string[] => [
  ...['unshare', '-m', '--propagation', 'private', 'sh', '-c'],
  `mount ${mountArguments} ${MOUNT_POINT} && truncate -s ${size} ${onDisk('disk.img')} && exec "$@"`,
  'sh'
]
