/** mqnbd with TLS. */
import type * as tls from 'node:tls'
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'
import { Mqnbd } from './mqnbd.ts'
import { requires } from './requires.ts'
import { TestCA } from './tls-certs.ts'

/** For tests that make certificates. */
export const needs = requires('certtool')

export interface TLSServer {
  server: Mqnbd
  ca: TestCA
  /** What a client needs that the server accepts. */
  client: tls.ConnectionOptions
}

/** Serves `memory:1M`, and what else `args` say; with the certificates of a CA of its own. */
export async function serveTls(t: Test, ...args: string[]): Promise<TLSServer> {
  const ca = TestCA.make(t).server().client()
  const server = await Mqnbd.serve(t, ['memory:1M', '--tls-creds', ca.folder, ...args])
  return { server, ca, client: clientOptions(ca.folder) }
}

/** With the CA and the certificate of a client in `folder`. */
export function clientOptions(folder: string): tls.ConnectionOptions {
  const [ca, cert, key] = ['ca-cert.pem', 'client-cert.pem', 'client-key.pem'].map((file) =>
    fs.readFileSync(path.join(folder, file))
  )
  return { ca, cert, key }
}
