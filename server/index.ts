/** mqnbd/server: serving nodes to NBD clients. */
export { NBDServer, type ExportOptions, type NBDServerOptions } from './nbd-server.ts'
export type { ListenAddress, NBDListener } from './listener/nbd-listener.ts'
export { IOThread, type IOThreadInfo } from '../shared/iothread/io-thread.ts'
export type { IOThreadProperties } from '../shared/iothread/io-thread-properties.ts'
