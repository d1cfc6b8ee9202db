/** mqnbd/server: serving nodes to NBD clients. */
export { NBDServer, type ExportOptions, type NBDServerOptions } from './nbd-server.ts'
export type { ListenAddress, ListeningSocket, NBDListener } from './listener/nbd-listener.ts'
export { IOThread, type IOThreadInfo } from '../shared/iothread/io-thread.ts'
export type { IOThreadProperties } from '../shared/iothread/io-thread-properties.ts'
export type { TLSPolicy } from './negotiation/tls-policy.ts'
export { loadServerCreds, type TLSCreds } from '../shared/io/tls-creds.ts'
export { VMADDR_CID_ANY } from '../shared/syscall/vsock.ts'
export { QIOChannelPair } from '../shared/io/channel-pair.ts'
