/**
 * mqnbd/client/driver: importing this registers the `nbd` driver, and lets every IOThread that needs it do so, too.
 *
 * The client itself is loaded when a node is opened.
 */
import { registerDriver } from '../../shared/block/driver-registry.ts'
import { bugError } from '../../shared/errors/nbd-error.ts'
import { isNbdUri } from '../../shared/protocol/uri.ts'
import type { NbdHandle } from './nbd-node.ts'
import { nbdOptions, parseNbdFilename, type NbdOptions } from './options.ts'

type NbdDriver = typeof import('./nbd-driver.ts')
let loaded: NbdDriver | undefined

/** From then on nodes can be attached in this thread. */
export const loadNbdDriver = async (): Promise<NbdDriver> => (loaded ??= await import('./nbd-driver.ts'))

registerDriver<NbdOptions, NbdHandle>({
  name: 'nbd',
  options: nbdOptions,
  objects: ['tls-creds'],
  module: new URL('./in-threads.js', import.meta.url).href,
  filenames: { matches: isNbdUri, parse: parseNbdFilename },
  open: async (options) => (await loadNbdDriver()).openNbdNode(options),
  attach(handle) {
    if (!loaded) throw bugError('a node of the nbd driver is attached before the driver is loaded')
    return loaded.attachNbdNode(handle)
  }
})

export type { NbdOptions, NbdServerAddress } from './options.ts'
