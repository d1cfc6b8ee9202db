/**
 * The `memory` driver: a sparse disk in memory, gone when the server ends.
 *
 * It is a file of the kernel's own (memfd), so all threads share it by its descriptor, it takes memory only for
 * what was written, and sendfile, holes and extents work as for a file.
 *
 * Concurrency: multiqueue.
 *
 * @see nbdkit-memory-plugin(1), memfd_create(2)
 */
import * as fs from 'node:fs'
import { required, size } from '../../../config/option-schema.ts'
import { parseSize } from '../../../config/size.ts'
import { configError } from '../../../errors/nbd-error.ts'
import { reason } from '../../../errors/system-error.ts'
import { closeFd, createMemfd } from '../../../syscall/fd.ts'
import type { BlockDriver, NodeOptions } from '../../driver-registry.ts'
import { PosixFileNode, type PosixFileHandle } from '../file/driver.ts'
import { FileFeatures } from '../file/file-features.ts'

export interface MemoryOptions extends NodeOptions {
  driver: 'memory'
  /** Bytes. */
  size: number
}

const PREFIX = 'memory:'

export const memoryDriver: BlockDriver<MemoryOptions, PosixFileHandle> = {
  name: 'memory',
  options: { size: required(size) },
  filenames: {
    matches: (filename) => filename.startsWith(PREFIX),
    areNew: true,
    parse: (filename) => ({ driver: 'memory', size: parseSize(filename.slice(PREFIX.length), 'memory disk') })
  },

  async open(options) {
    const fd = createMemfd('mqnbd')
    try {
      fs.ftruncateSync(fd, options.size)
    } catch (error) {
      closeFd(fd)
      throw configError(`cannot make a memory disk of ${options.size} bytes: ${reason(error)}`, error)
    }
    const features = new FileFeatures()
    features.hasHoles()
    return new PosixFileNode({
      driver: 'memory',
      // It is a copy of memory, for which the kernel would take a thread of its own, too.
      file: {
        fd,
        kind: 'memory',
        length: options.size,
        sectorSize: 1,
        features: features.words,
        aio: 'threads'
      },
      readOnly: options['read-only'] ?? false
    })
  },

  attach: (handle) => new PosixFileNode(handle)
}
