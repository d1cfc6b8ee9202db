/**
 * Pre-shared keys: files with `USERNAME:KEY` in each line, the key in hexadecimal digits, as GnuTLS' psktool writes them.
 *
 * @see QEMU crypto/tlscredspsk.c, lookup_key; nbd_set_tls_psk_file(3)
 */
import * as fs from 'node:fs'
import { configError, NBDError } from '../errors/nbd-error.ts'
import { reason } from '../errors/system-error.ts'
import type { TLSCreds } from './tls-creds.ts'

/** Bytes: thousands of users fit. */
const MAX_FILE_SIZE = 1024 * 1024
/** Bytes of a user's name, and of a key, that OpenSSL takes. @see PSK_MAX_IDENTITY_LEN, PSK_MAX_PSK_LEN */
const MAX_USERNAME = 256
const MAX_KEY = 512

/**
 * Credentials of a client that proves by a key who it is, and that the server is the right one.
 *
 * @throws NBDError of kind `config`
 * @see QEMU's tls-creds-psk, endpoint=client
 */
export function loadPskCreds(file: string, username: string): TLSCreds {
  if (username === '' || Buffer.byteLength(username) > MAX_USERNAME || username.includes(':')) {
    throw configError(`'${username}' cannot be the user name of a pre-shared key`)
  }
  const prefix = `${username}:`
  const line = read(file)
    .split(/\r?\n/)
    .find((text) => text.startsWith(prefix))
  if (line === undefined) throw configError(`'${file}' has no key for the user '${username}'`)
  const key = line.slice(prefix.length)
  if (!/^([0-9a-f]{2})+$/i.test(key) || key.length / 2 > MAX_KEY) {
    throw configError(
      `'${file}': the key of '${username}' is not 1 to ${MAX_KEY} bytes in hexadecimal digits`
    )
  }
  return { ca: undefined, cert: undefined, key: undefined, psk: { username, key } }
}

function read(file: string): string {
  try {
    const stat = fs.statSync(file)
    if (!stat.isFile()) throw configError(`'${file}' is not a file`)
    if (stat.size > MAX_FILE_SIZE) throw configError(`'${file}' is too large: ${stat.size} bytes`)
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    if (NBDError.is(error)) throw error
    throw configError(`cannot read '${file}': ${reason(error)}`, error)
  }
}
