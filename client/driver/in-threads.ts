/** What an IOThread imports to attach nodes of the `nbd` driver. */
import { loadNbdDriver } from './index.ts'

await loadNbdDriver()
