/** Importing this registers the drivers that come with the block layer. */
import { registerDriver } from '../driver-registry.ts'
import { fileDriver } from './file/driver.ts'
import { memoryDriver } from './memory/driver.ts'
import { rawDriver } from './raw/driver.ts'
import { unmapPolicyDriver } from './unmap-policy/driver.ts'

registerDriver(fileDriver)
registerDriver(memoryDriver)
registerDriver(rawDriver)
registerDriver(unmapPolicyDriver)
