import { useTLS } from '../../../helpers/tls-pair.ts'

useTLS('openssl')
await import('./channel-tls-cases.ts')
await import('./tls-handshake-cases.ts')
