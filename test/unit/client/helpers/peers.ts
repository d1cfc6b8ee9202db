/** Servers that the client must get on with, each with 8 MiB that can be written. */
import type { Test } from 'tap'
import { emptyImage, MiB } from '../../../helpers/files.ts'
import { Mqnbd } from '../../../helpers/mqnbd.ts'
import { QemuNbd } from '../../../helpers/qemu-nbd.ts'
import { Nbdkit } from './nbdkit.ts'

export const PEER_SIZE = 8 * MiB

export interface Peer {
  /** Programs that it needs. */
  needs: string[]
  /** @returns its URI */
  serve: (t: Test) => Promise<string>
}

const nbdkit = (...args: string[]): Peer => ({
  needs: ['nbdkit'],
  serve: async (t) => (await Nbdkit.serve(t, args)).uri
})

const mqnbd = (...args: string[]): Peer => ({
  needs: [],
  serve: async (t) => (await Mqnbd.serve(t, args)).uri
})

export const peers: Record<string, Peer> = {
  'mqnbd, memory, Unix socket': mqnbd('memory:8M'),
  'mqnbd, file, TCP': {
    needs: [],
    serve: async (t) =>
      (await Mqnbd.serve(t, [emptyImage(t, PEER_SIZE), '-f', 'raw', '-b', '127.0.0.1', '-p', '0'])).uri
  },
  'qemu-nbd': {
    needs: ['qemu-nbd', 'nbdinfo'],
    serve: async (t) =>
      (await QemuNbd.serve(t, ['-f', 'raw', '--discard=unmap', '-e', '8', emptyImage(t, PEER_SIZE)])).uri
  },
  nbdkit: nbdkit('memory', '8M'),
  'nbdkit without structured replies': nbdkit('--no-sr', 'memory', '8M'),
  'nbdkit with EXPORT_NAME only': nbdkit('--mask-handshake=0', 'memory', '8M'),
  'nbdkit with block sizes': nbdkit(
    '--filter=blocksize-policy',
    'memory',
    '8M',
    'blocksize-minimum=512',
    'blocksize-preferred=4096',
    'blocksize-maximum=64K',
    'blocksize-error-policy=error'
  ),
  'nbdkit that answers late and in another order': nbdkit(
    '--filter=delay',
    'memory',
    '8M',
    'rdelay=3ms',
    'wdelay=1ms'
  )
}
