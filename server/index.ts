/** mqnbd/server: serving nodes to NBD clients. */
export { NBDServer, type ExportOptions, type NBDServerOptions } from './nbd-server.ts'
export type { ListenAddress, NBDListener } from './listener/nbd-listener.ts'
