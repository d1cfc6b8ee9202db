/**
 * Ciphers for those who prove by a pre-shared key alone who they are; in TLS 1.3 the cipher does not say. OpenSSL binds a
 * key to SHA-256.
 */
export const PSK_CIPHERS = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:kECDHEPSK:kDHEPSK:kPSK:!eNULL'
