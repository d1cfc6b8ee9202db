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

/** In one file. */
const MAX_USERS = 65_536

/**
 * Credentials of a client that proves by a key who it is, and that the server is the right one.
 *
 * @throws NBDError of kind `config`
 * @see QEMU's tls-creds-psk, endpoint=client
 */
export function loadClientPsk(file: string, username: string): TLSCreds {
  if (username === '' || !isUsername(username))
    throw configError(`'${username}' cannot be the user name of a pre-shared key`)
  const prefix = `${username}:`
  const line = read(file).find((text) => text.startsWith(prefix))
  if (line === undefined) throw configError(`'${file}' has no key for the user '${username}'`)
  const key = line.slice(prefix.length)
  checkKey(file, username, key)
  return { ca: undefined, cert: undefined, key: undefined, psk: { username, key } }
}

/**
 * Credentials of a server whose clients prove by a key who they are; of two keys of a user, the first is taken.
 *
 * @throws NBDError of kind `config`
 * @see QEMU's tls-creds-psk, endpoint=server; --tls-psk of nbdkit(1)
 */
export function loadServerPsk(file: string): TLSCreds {
  const keys = new Map<string, string>()
  for (const [index, line] of read(file).entries()) {
    if (line === '' || line.startsWith('#')) continue
    const colon = line.indexOf(':')
    const username = line.slice(0, Math.max(colon, 0))
    // What is there instead may be a key: it is not told.
    if (username === '' || !isUsername(username))
      throw configError(`'${file}': line ${index + 1} is not USER:KEY`)
    const key = line.slice(colon + 1)
    checkKey(file, username, key)
    if (!keys.has(username)) keys.set(username, key)
    if (keys.size > MAX_USERS) throw configError(`'${file}' has more than ${MAX_USERS} users`)
  }
  if (keys.size === 0) throw configError(`'${file}' has no key`)
  return { ca: undefined, cert: undefined, key: undefined, keys }
}

const isUsername = (text: string): boolean => Buffer.byteLength(text) <= MAX_USERNAME && !/[:\0]/.test(text)

function checkKey(file: string, username: string, key: string): void {
  if (/^([0-9a-f]{2})+$/i.test(key) && key.length / 2 <= MAX_KEY) return
  throw configError(`'${file}': the key of '${username}' is not 1 to ${MAX_KEY} bytes in hexadecimal digits`)
}

/** @returns the lines */
function read(file: string): string[] {
  try {
    const stat = fs.statSync(file)
    if (!stat.isFile()) throw configError(`'${file}' is not a file`)
    if (stat.size > MAX_FILE_SIZE) throw configError(`'${file}' is too large: ${stat.size} bytes`)
    return fs.readFileSync(file, 'utf8').split(/\r?\n/)
  } catch (error) {
    if (NBDError.is(error)) throw error
    throw configError(`cannot read '${file}': ${reason(error)}`, error)
  }
}
