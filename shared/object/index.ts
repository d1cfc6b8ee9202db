/** Objects by `--object`; importing this registers the types that there are. */
export { findIOThread } from './iothread.ts'
export { TLS_CREDS_TYPES, TLSClientCreds, TLSServerCreds } from './tls-creds.ts'
export { ObjectTable } from './object-table.ts'
export { registerObjectType, type ObjectType, type UserObject } from './object-type.ts'
