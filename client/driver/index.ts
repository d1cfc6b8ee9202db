/** mqnbd/client/driver: importing this registers the `nbd` driver, and lets every IOThread that needs it do so, too. */
import { registerDriver } from '../../shared/block/driver-registry.ts'
import { nbdDriver } from './nbd-driver.ts'

registerDriver(nbdDriver)

export type { NbdOptions, NbdServerAddress } from './options.ts'
