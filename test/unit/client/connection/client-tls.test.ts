import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { clientTls, defaultFolder } from '../../../../client/connection/client-tls.ts'
import { requires } from '../../../helpers/requires.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { TestCA } from '../../../helpers/tls-certs.ts'

void t.test('client-tls - where certificates are looked for, as by libnbd', async (t) => {
  const root = tempDir(t)
  const touch = (folder: string): string => {
    fs.mkdirSync(path.join(root, folder), { recursive: true })
    fs.writeFileSync(path.join(root, folder, 'ca-cert.pem'), '')
    return path.join(root, folder)
  }
  const of = (uid: number, home: string | undefined = root): string | undefined =>
    defaultFolder(uid, home, path.join(root, 'etc'))
  t.equal(of(0), undefined, 'there are none')
  t.equal(of(1000), undefined)
  const second = touch('.config/pki/libnbd')
  t.equal(of(1000), second)
  const first = touch('.pki/libnbd')
  t.equal(of(1000), first, 'the first that has a CA')
  t.equal(of(0), undefined, 'root has others')
  const system = touch('etc/pki/libnbd')
  t.equal(of(0), system)
  t.equal(of(1000), first)
  t.equal(of(1000, ''), system, 'who has no home has those of the system')
})

void t.test('client-tls - the name that the certificate must be for', requires('certtool'), async (t) => {
  const { folder: certificates } = TestCA.make(t)
  const nameOf = (address: Parameters<typeof clientTls>[1], hostname?: string): string =>
    clientTls({ certificates, ...(hostname === undefined ? {} : { hostname }) }, address).hostname
  t.equal(nameOf({ host: 'h.example', port: 1 }), 'h.example')
  t.equal(nameOf({ host: '::1', port: 1 }), '::1')
  t.equal(nameOf({ path: '/s' }), 'localhost')
  t.equal(nameOf(undefined), 'localhost')
  t.equal(nameOf({ host: 'h.example', port: 1 }, 'other.example'), 'other.example')
})

void t.test('client-tls - parameters that contradict each other, also from a program', async (t) => {
  t.throws(() => clientTls({ certificates: 'c', pskFile: 'k' }, undefined), {
    kind: 'config',
    message: /either by certificates or by a pre-shared key/
  })
  t.throws(() => clientTls({ type: 'psk' }, undefined), { kind: 'config', message: /needs 'tls-psk-file'/ })
})
