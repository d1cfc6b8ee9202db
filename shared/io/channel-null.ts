/**
 * A channel that swallows what is written, and is at its end for whoever reads.
 *
 * @see QIOChannelNull in QEMU's io/channel-null.c
 */
import { iovLength, type IOVec, type QIOChannelFeature } from './channel.ts'
import { QIOChannelReady } from './channel-ready.ts'

export class QIOChannelNull extends QIOChannelReady {
  override readonly features: ReadonlySet<QIOChannelFeature> = new Set(['shutdown'])

  override readv(_iov: readonly IOVec[]): number {
    this.ends.mayRead()
    return 0
  }

  override writev(iov: readonly IOVec[]): number {
    this.ends.checkWrite()
    return iovLength(iov)
  }
}
