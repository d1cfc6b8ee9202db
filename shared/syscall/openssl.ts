/**
 * OpenSSL, which Node.js has in it and shows to addons: what node:tls cannot do is encrypt into memory and decrypt out of it
 * without streams in between.
 *
 * The C names and arguments; pointers are numbers. Who fails leaves reasons in a queue of the thread's.
 *
 * @see ssl(7), bio(7)
 */
import { declare, declareText, type Call, type TextCall } from './libc.ts'

const prototypes = {
  BIO_ctrl_pending: 'size_t BIO_ctrl_pending(uintptr_t bio)',
  BIO_free: 'int BIO_free(uintptr_t bio)',
  BIO_new_bio_pair: 'int BIO_new_bio_pair(uintptr_t a, size_t size_a, uintptr_t b, size_t size_b)',
  BIO_new_mem_buf: 'uintptr_t BIO_new_mem_buf(uintptr_t memory, int length)',
  BIO_nread: 'int BIO_nread(uintptr_t bio, uintptr_t address, int length)',
  BIO_nread0: 'int BIO_nread0(uintptr_t bio, uintptr_t address)',
  BIO_nwrite: 'int BIO_nwrite(uintptr_t bio, uintptr_t address, int length)',
  BIO_nwrite0: 'int BIO_nwrite0(uintptr_t bio, uintptr_t address)',
  ERR_clear_error: 'void ERR_clear_error()',
  ERR_get_error: 'ulong ERR_get_error()',
  EVP_PKEY_free: 'void EVP_PKEY_free(uintptr_t key)',
  PEM_read_bio_PrivateKey:
    'uintptr_t PEM_read_bio_PrivateKey(uintptr_t bio, uintptr_t key, uintptr_t callback, str password)',
  PEM_read_bio_X509_AUX:
    'uintptr_t PEM_read_bio_X509_AUX(uintptr_t bio, uintptr_t x, uintptr_t callback, str password)',
  SSL_CTX_add_client_CA: 'int SSL_CTX_add_client_CA(uintptr_t context, uintptr_t certificate)',
  SSL_CTX_ctrl: 'long SSL_CTX_ctrl(uintptr_t context, int command, long number, uintptr_t pointer)',
  SSL_CTX_free: 'void SSL_CTX_free(uintptr_t context)',
  SSL_CTX_get_cert_store: 'uintptr_t SSL_CTX_get_cert_store(uintptr_t context)',
  SSL_CTX_new: 'uintptr_t SSL_CTX_new(uintptr_t method)',
  SSL_CTX_set_cipher_list: 'int SSL_CTX_set_cipher_list(uintptr_t context, str ciphers)',
  SSL_CTX_set_ciphersuites: 'int SSL_CTX_set_ciphersuites(uintptr_t context, str suites)',
  SSL_CTX_set_num_tickets: 'int SSL_CTX_set_num_tickets(uintptr_t context, size_t count)',
  SSL_CTX_set_options: 'uint64_t SSL_CTX_set_options(uintptr_t context, uint64_t options)',
  SSL_CTX_set_psk_client_callback:
    'void SSL_CTX_set_psk_client_callback(uintptr_t context, uintptr_t callback)',
  SSL_CTX_set_psk_server_callback:
    'void SSL_CTX_set_psk_server_callback(uintptr_t context, uintptr_t callback)',
  SSL_CTX_set_verify: 'void SSL_CTX_set_verify(uintptr_t context, int mode, uintptr_t callback)',
  SSL_CTX_use_PrivateKey: 'int SSL_CTX_use_PrivateKey(uintptr_t context, uintptr_t key)',
  SSL_CTX_use_certificate: 'int SSL_CTX_use_certificate(uintptr_t context, uintptr_t certificate)',
  SSL_ctrl: 'long SSL_ctrl(uintptr_t ssl, int command, long number, str text)',
  SSL_do_handshake: 'int SSL_do_handshake(uintptr_t ssl)',
  SSL_free: 'void SSL_free(uintptr_t ssl)',
  SSL_get_SSL_CTX: 'uintptr_t SSL_get_SSL_CTX(uintptr_t ssl)',
  SSL_get1_peer_certificate: 'uintptr_t SSL_get1_peer_certificate(uintptr_t ssl)',
  SSL_get_error: 'int SSL_get_error(uintptr_t ssl, int result)',
  SSL_get_verify_result: 'long SSL_get_verify_result(uintptr_t ssl)',
  SSL_has_pending: 'int SSL_has_pending(uintptr_t ssl)',
  SSL_new: 'uintptr_t SSL_new(uintptr_t context)',
  SSL_peek: 'int SSL_peek(uintptr_t ssl, uintptr_t memory, int length)',
  SSL_read: 'int SSL_read(uintptr_t ssl, uintptr_t memory, int length)',
  SSL_set_accept_state: 'void SSL_set_accept_state(uintptr_t ssl)',
  SSL_set_bio: 'void SSL_set_bio(uintptr_t ssl, uintptr_t in, uintptr_t out)',
  SSL_set_connect_state: 'void SSL_set_connect_state(uintptr_t ssl)',
  SSL_shutdown: 'int SSL_shutdown(uintptr_t ssl)',
  SSL_write: 'int SSL_write(uintptr_t ssl, uintptr_t memory, int length)',
  TLS_client_method: 'uintptr_t TLS_client_method()',
  TLS_server_method: 'uintptr_t TLS_server_method()',
  X509_STORE_add_cert: 'int X509_STORE_add_cert(uintptr_t store, uintptr_t certificate)',
  X509_free: 'void X509_free(uintptr_t certificate)',
  i2d_X509: 'int i2d_X509(uintptr_t certificate, uintptr_t address)'
}

const textPrototypes = {
  ERR_reason_error_string: 'const char *ERR_reason_error_string(ulong code)',
  SSL_get_version: 'const char *SSL_get_version(uintptr_t ssl)',
  X509_verify_cert_error_string: 'const char *X509_verify_cert_error_string(long code)'
}

export type OpenSSL = Readonly<
  Record<keyof typeof prototypes, Call> & Record<keyof typeof textPrototypes, TextCall>
>

let loaded: OpenSSL | undefined
let tried = false

/** @returns undefined where this Node.js does not show all of it, as when it has another library in its place */
export function openssl(): OpenSSL | undefined {
  if (!tried) loaded = load()
  tried = true
  return loaded
}

function load(): OpenSSL | undefined {
  try {
    const calls = Object.entries(prototypes).map(([name, prototype]) => [name, declare(prototype)])
    const texts = Object.entries(textPrototypes).map(([name, prototype]) => [name, declareText(prototype)])
    return Object.fromEntries([...calls, ...texts]) as OpenSSL
  } catch {
    return undefined
  }
}
