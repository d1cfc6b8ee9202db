/** Other servers with TLS, each with 8 MiB that can be written, on Unix sockets of the test's own. */
import * as path from 'node:path'
import type { Test } from 'tap'
import { Nbdkit } from '../unit/client/helpers/nbdkit.ts'
import { canConnect } from './can-connect.ts'
import { emptyImage, MiB } from './files.ts'
import { Launched } from './launched.ts'
import { program } from './requires.ts'
import { tempDir } from './temp-dir.ts'
import { waitFor } from './wait-for.ts'

export const TLS_PEER_SIZE = 8 * MiB

export interface TLSPeer {
  needs: string
  /** TLS is required, and a client must have a certificate that the CA of `folder` has signed. @returns its socket */
  x509: (t: Test, folder: string) => Promise<string>
  /** TLS is required, with the keys in `folder`/keys.psk. @returns its socket */
  psk: (t: Test, folder: string) => Promise<string>
  /** Without TLS. */
  plain: (t: Test) => Promise<string>
}

const nbdkit = async (t: Test, ...args: string[]): Promise<string> =>
  (await Nbdkit.serve(t, [...args, 'memory', '8M'])).socket

async function qemuNbd(t: Test, ...args: string[]): Promise<string> {
  const socket = path.join(tempDir(t), 's')
  const image = emptyImage(t, TLS_PEER_SIZE)
  const launched = new Launched(t, program('qemu-nbd'), ['-t', '-k', socket, '-f', 'raw', ...args, image])
  await waitFor('qemu-nbd to listen', () => {
    if (launched.ended) throw new Error(`qemu-nbd has ended: ${launched.stderr}`)
    return canConnect(socket)
  })
  return socket
}

const creds = (kind: string, folder: string): string[] => [
  '--object',
  `${kind},id=tls0,endpoint=server,dir=${folder}`,
  '--tls-creds',
  'tls0'
]

export const tlsPeers: Record<string, TLSPeer> = {
  nbdkit: {
    needs: 'nbdkit',
    x509: (t, folder) => nbdkit(t, '--tls=require', `--tls-certificates=${folder}`, '--tls-verify-peer'),
    psk: (t, folder) => nbdkit(t, '--tls=require', `--tls-psk=${path.join(folder, 'keys.psk')}`),
    plain: (t) => nbdkit(t)
  },
  'qemu-nbd': {
    needs: 'qemu-nbd',
    x509: (t, folder) => qemuNbd(t, ...creds('tls-creds-x509', folder)),
    psk: (t, folder) => qemuNbd(t, ...creds('tls-creds-psk', folder)),
    plain: (t) => qemuNbd(t)
  }
}
