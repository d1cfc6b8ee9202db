/**
 * OpenSSL asks for pre-shared keys, in the middle of a handshake: the server's end for that of the client's user, the
 * client's end for its own.
 *
 * @context its thread: one callback of each kind serves all of the thread's connections
 * @see SSL_CTX_set_psk_server_callback(3), SSL_CTX_set_psk_client_callback(3)
 */
import { atThreadEnd } from '../aio/thread-end.ts'
import { declareCallback, releaseCallback } from '../syscall/libc.ts'
import { copyTo } from '../syscall/memory.ts'
import type { OpenSSL } from '../syscall/openssl.ts'
import { keyBytes, type PreSharedKey, type TLSCreds } from './tls-creds.ts'

/** What a callback returns when there is no key. */
const NO_KEY = 0

/** By SSL_CTX. The credentials keep the context, and not the other way round. */
const contexts = new Map<number, WeakRef<TLSCreds>>()

let server: number | undefined
let client: number | undefined
let stranger: string | undefined

/** Lets OpenSSL ask for what `creds` have. */
export function usePreSharedKeys(ssl: OpenSSL, context: number, creds: TLSCreds): void {
  const { keys, psk } = creds
  if (!keys && !psk) return
  contexts.set(context, new WeakRef(creds))
  if (keys) ssl.SSL_CTX_set_psk_server_callback(context, (server ??= untilThreadEnd(serverCallback(ssl))))
  if (psk) ssl.SSL_CTX_set_psk_client_callback(context, (client ??= untilThreadEnd(clientCallback(ssl))))
}

function untilThreadEnd(callback: number): number {
  atThreadEnd(() => releaseCallback(callback))
  return callback
}

/** The context is freed. */
export const forgetPreSharedKeys = (context: number): boolean => contexts.delete(context)

/** The user of the last handshake that had no key; told once. */
export function takeStranger(): string | undefined {
  const found = stranger
  stranger = undefined
  return found
}

const credsOf = (ssl: OpenSSL, session: number): TLSCreds | undefined =>
  contexts.get(ssl.SSL_get_SSL_CTX(session))?.deref()

const serverCallback = (ssl: OpenSSL): number =>
  declareCallback(
    'uint32_t psk_server_callback(uintptr_t ssl, const char *identity, uintptr_t key, uint32_t room)',
    (session: number, username: string, at: number, room: number): number => {
      const key = credsOf(ssl, session)?.keys?.get(username)
      if (key !== undefined) return put(at, keyBytes(key), room)
      stranger = username
      return NO_KEY
    }
  )

const clientCallback = (ssl: OpenSSL): number =>
  declareCallback(
    'uint32_t psk_client_callback(uintptr_t ssl, const char *hint, uintptr_t identity, uint32_t most, uintptr_t key, uint32_t room)',
    (session: number, _hint: string | null, name: number, most: number, at: number, room: number): number => {
      const psk: PreSharedKey | undefined = credsOf(ssl, session)?.psk
      if (!psk || put(name, Buffer.from(`${psk.username}\0`), most + 1) === 0) return NO_KEY
      return put(at, keyBytes(psk.key), room)
    }
  )

/** @returns how many bytes were put there: all or none */
function put(address: number, bytes: Buffer, room: number): number {
  if (bytes.length > room) return 0
  copyTo(address, bytes)
  return bytes.length
}
