/** Certificates for tests, in folders as libvirt lays them out. Made by GnuTLS' certtool: `requires('certtool')`. */
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { program } from './requires.ts'
import type { Scope } from './scope.ts'
import { tempDir } from './temp-dir.ts'

export interface CertOptions {
  /** The server's names; localhost and 127.0.0.1 if not given. */
  dnsNames?: string[]
  /** As certtool wants it, such as `2001-01-01`. */
  from?: string
  until?: string
  /** An RSA key of this length, not one on an elliptic curve. */
  rsaBits?: number
}

const certtool = (...args: string[]): void => {
  execFileSync(program('certtool'), args, { stdio: 'pipe' })
}

/** A CA, and folders with what it has signed. */
export class TestCA {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  /** Removed with the test. */
  static make(t: Scope, options: CertOptions = {}): TestCA {
    const ca = new TestCA(tempDir(t))
    ca.#make('ca', ['cn = "test CA"', 'ca', 'cert_signing_key', ...times(options)], options)
    return ca
  }

  /** With ca-cert.pem, and certificate and key of a server and a client. */
  get folder(): string {
    return this.#folder
  }

  /** Adds the certificate and key of a server. */
  server({ dnsNames = ['localhost'], ...options }: CertOptions = {}): this {
    const names = dnsNames.map((name) => `dns_name = "${name}"`)
    const address = dnsNames.includes('localhost') ? ['ip_address = "127.0.0.1"'] : []
    const usage = ['tls_www_server', 'signing_key', 'encryption_key']
    this.#make(
      'server',
      [`cn = "${dnsNames[0]}"`, ...names, ...address, ...usage, ...times(options)],
      options
    )
    return this
  }

  /** Adds the certificate and key of a client. */
  client(options: CertOptions = {}): this {
    this.#make('client', ['cn = "a client"', 'tls_www_client', 'signing_key', ...times(options)], options)
    return this
  }

  /** A folder with some of the files only, removed with the test. */
  with(t: Scope, ...files: string[]): string {
    const folder = tempDir(t)
    for (const file of files) fs.copyFileSync(path.join(this.#folder, file), path.join(folder, file))
    return folder
  }

  #make(name: string, template: string[], { rsaBits }: CertOptions): void {
    const kind =
      rsaBits === undefined
        ? ['--key-type=ecdsa', '--curve=secp256r1']
        : ['--key-type=rsa', `--bits=${rsaBits}`]
    const file = (suffix: string): string => path.join(this.#folder, `${name}-${suffix}`)
    fs.writeFileSync(file('template'), template.join('\n'))
    certtool('--generate-privkey', ...kind, '--outfile', file('key.pem'))
    const signer = [
      '--load-ca-certificate',
      this.#path('ca-cert.pem'),
      '--load-ca-privkey',
      this.#path('ca-key.pem')
    ]
    certtool(
      ...(name === 'ca' ? ['--generate-self-signed'] : ['--generate-certificate', ...signer]),
      ...['--load-privkey', file('key.pem'), '--template', file('template'), '--outfile', file('cert.pem')]
    )
  }

  #path(name: string): string {
    return path.join(this.#folder, name)
  }
}

const times = ({ from, until }: CertOptions): string[] => [
  ...(from === undefined ? [] : [`activation_date = "${from} 00:00:00"`]),
  until === undefined ? 'expiration_days = 7' : `expiration_date = "${until} 00:00:00"`
]
