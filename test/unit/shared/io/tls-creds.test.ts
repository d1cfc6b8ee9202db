import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { loadClientCreds, loadServerCreds, type TLSCreds } from '../../../../shared/io/tls-creds.ts'
import { requires } from '../../../helpers/requires.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { TestCA } from '../../../helpers/tls-certs.ts'

const needs = requires('certtool')
const server = (folder: string): TLSCreds => loadServerCreds(folder, { verifyPeer: true })
const pem = (folder: string, file: string): string => fs.readFileSync(path.join(folder, file), 'latin1')

void t.test(
  'tls-creds - the files of a server, and of a client, as text that can be posted',
  needs,
  async (t) => {
    const { folder } = TestCA.make(t).server().client()
    t.strictSame(structuredClone(server(folder)), {
      ca: pem(folder, 'ca-cert.pem'),
      cert: pem(folder, 'server-cert.pem'),
      key: pem(folder, 'server-key.pem')
    })
    t.strictSame(loadClientCreds(folder), {
      ca: pem(folder, 'ca-cert.pem'),
      cert: pem(folder, 'client-cert.pem'),
      key: pem(folder, 'client-key.pem')
    })
  }
)

void t.test('tls-creds - what need not be there', needs, async (t) => {
  const ca = TestCA.make(t).server()
  const unverified = loadServerCreds(ca.with(t, 'server-cert.pem', 'server-key.pem'), { verifyPeer: false })
  t.equal(unverified.ca, undefined, 'a CA, when clients are not verified')
  t.equal(loadServerCreds(ca.folder, { verifyPeer: false }).ca, undefined, 'and it is not used')
  const anonymous = loadClientCreds(ca.with(t, 'ca-cert.pem'))
  t.strictSame([anonymous.cert, anonymous.key], [undefined, undefined], "a client's certificate")
})

void t.test('tls-creds - what is missing is named', needs, async (t) => {
  const ca = TestCA.make(t).server().client()
  const cases: [files: string[], load: (folder: string) => TLSCreds, RegExp][] = [
    [[], server, /^there is no '.*server-cert\.pem'$/],
    [
      ['server-cert.pem', 'server-key.pem'],
      server,
      /^there is no '.*ca-cert\.pem': .*clients cannot be verified/
    ],
    [['ca-cert.pem', 'server-cert.pem'], server, /^there is no '.*server-key\.pem'/],
    [['ca-cert.pem', 'server-key.pem'], server, /^there is no '.*server-cert\.pem'/],
    [[], loadClientCreds, /^there is no '.*ca-cert\.pem': .*the server cannot be verified/],
    [['ca-cert.pem', 'client-cert.pem'], loadClientCreds, /^there is no '.*client-key\.pem'/]
  ]
  for (const [files, load, message] of cases) {
    const folder = ca.with(t, ...files)
    t.throws(() => load(folder), { kind: 'config', message }, `only ${files.join(', ')}`)
  }
  t.throws(() => server('/no/such/folder'), {
    kind: 'config',
    message: /cannot look into '\/no\/such\/folder': no such file/
  })
})

void t.test('tls-creds - what is wrong with a file is told', needs, async (t) => {
  const ca = TestCA.make(t).server()
  const other = TestCA.make(t).server()
  const cases: [what: string, file: string, content: string, RegExp][] = [
    [
      'key of another',
      'server-key.pem',
      pem(other.folder, 'server-key.pem'),
      /the key .* does not belong to/
    ],
    ['rubbish for a key', 'server-key.pem', 'rubbish', /server-key\.pem' has no private key in PEM form/],
    ['rubbish', 'server-cert.pem', 'rubbish', /server-cert\.pem' has no certificate in PEM form/],
    ['broken PEM', 'ca-cert.pem', broken, /ca-cert\.pem' has a certificate that cannot be read/],
    [
      'no CA',
      'ca-cert.pem',
      pem(ca.folder, 'server-cert.pem'),
      /ca-cert\.pem' has a certificate that is not of a CA/
    ],
    ['a CA', 'server-cert.pem', pem(ca.folder, 'ca-cert.pem'), /is the certificate of a CA, not of a server/],
    ['nothing', 'ca-cert.pem', '', /has no certificate/],
    ['too much', 'ca-cert.pem', 'x'.repeat(2 << 20), /ca-cert\.pem' is too large/],
    ['hundreds', 'ca-cert.pem', broken.repeat(300), /has 300 certificates/]
  ]
  for (const [what, file, content, message] of cases) {
    const folder = ca.with(t, 'ca-cert.pem', 'server-cert.pem', 'server-key.pem')
    fs.writeFileSync(path.join(folder, file), content)
    t.throws(() => server(folder), { kind: 'config', message }, what)
  }
  const folder = ca.with(t, 'server-cert.pem', 'server-key.pem')
  fs.mkdirSync(path.join(folder, 'ca-cert.pem'))
  t.throws(() => server(folder), { kind: 'config', message: /ca-cert\.pem' is not a file/ })
})

const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'

void t.test('tls-creds - a certificate that is not valid now is refused', needs, async (t) => {
  const cases: [TestCA, RegExp][] = [
    [
      TestCA.make(t).server({ from: '2001-01-01', until: '2002-01-01' }),
      /server-cert\.pem' has expired, on .* 2002/
    ],
    [
      TestCA.make(t).server({ from: '2040-01-01', until: '2041-01-01' }),
      /server-cert\.pem' is not valid yet/
    ],
    [TestCA.make(t, { from: '2001-01-01', until: '2002-01-01' }).server(), /ca-cert\.pem' has expired/]
  ]
  for (const [ca, message] of cases) t.throws(() => server(ca.folder), { kind: 'config', message })
})

void t.test(
  'tls-creds - an encrypted key is not supported, and a weak certificate not accepted',
  needs,
  async (t) => {
    const ca = TestCA.make(t).server()
    const folder = ca.with(t, 'ca-cert.pem', 'server-cert.pem', 'server-key.pem')
    const encrypted = '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n'
    fs.writeFileSync(path.join(folder, 'server-key.pem'), encrypted)
    t.throws(() => server(folder), { kind: 'config', message: /is encrypted: not supported/ })
    const weak = TestCA.make(t).server({ rsaBits: 768 })
    t.throws(() => server(weak.folder), { kind: 'config', message: /cannot be used: ee key too small/ })
  }
)

void t.test('tls-creds - a folder that is a file', needs, async (t) => {
  const file = path.join(tempDir(t), 'file')
  fs.writeFileSync(file, '')
  t.throws(() => server(file), { kind: 'config', message: /cannot look into/ })
})
