import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { parseOptionText } from '../../../../shared/config/key-value.ts'
import {
  ObjectTable,
  TLSClientCreds,
  TLSServerCreds,
  type UserObject
} from '../../../../shared/object/index.ts'
import { requires } from '../../../helpers/requires.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { TestCA } from '../../../helpers/tls-certs.ts'

function newTable(t: Test): { objects: ObjectTable; add: (text: string) => Promise<UserObject> } {
  const objects = new ObjectTable()
  t.teardown(() => objects.close())
  return { objects, add: (text) => objects.add(parseOptionText(text, '--object', 'qom-type')) }
}

void t.test('--object tls-creds-x509 - what it was made of', requires('certtool'), async (t) => {
  const { objects, add } = newTable(t)
  const { folder } = TestCA.make(t)
  const tls = await add(`tls-creds-x509,id=a,dir=${folder}`)
  t.ok(tls instanceof TLSClientCreds)
  t.match(tls, { type: 'tls-creds-x509', id: 'a', parameters: { certificates: folder, verifyPeer: true } })
  t.equal(objects.get('a', 'endpoint'), 'client')
  t.equal(objects.get('a', 'verify-peer'), true)
  t.equal(objects.get('a', 'dir'), folder)
  await t.rejects(objects.set('a', 'dir', '/'), { message: "a: 'dir' can only be read" })
  t.match(await add(`tls-creds-x509,id=b,dir=${folder},verify-peer=off`), {
    parameters: { verifyPeer: false }
  })
  await t.rejects(add(`tls-creds-x509,id=c,dir=${tempDir(t)}`), { message: /there is no '.*ca-cert\.pem'/ })
  await t.rejects(add(`tls-creds-x509,id=c,dir=${folder},endpoint=server`), {
    message: /there is no '.*server-cert\.pem'/
  })
})

void t.test('--object tls-creds-x509 - of a server', requires('certtool'), async (t) => {
  const { objects, add } = newTable(t)
  const { folder } = TestCA.make(t).server()
  const tls = await add(`tls-creds-x509,id=a,dir=${folder},endpoint=server`)
  t.ok(tls instanceof TLSServerCreds)
  const read = (name: string): string => fs.readFileSync(path.join(folder, name), 'utf8')
  t.match(tls, {
    creds: { ca: read('ca-cert.pem'), cert: read('server-cert.pem'), key: read('server-key.pem') }
  })
  t.equal(objects.get('a', 'endpoint'), 'server')
  t.equal(objects.get('a', 'verify-peer'), true)
  const open = await add(`tls-creds-x509,id=b,dir=${folder},endpoint=server,verify-peer=off`)
  t.equal((open as TLSServerCreds).creds.ca, undefined, 'clients are not verified')
})

void t.test('--object tls-creds-psk - what it was made of', async (t) => {
  const { objects, add } = newTable(t)
  const dir = tempDir(t)
  const pskFile = path.join(dir, 'keys.psk')
  fs.writeFileSync(pskFile, 'qemu:00ff\nalice:11\n')
  t.match(await add(`tls-creds-psk,id=a,dir=${dir}`), { parameters: { pskFile, username: 'qemu' } })
  t.equal(objects.get('a', 'username'), 'qemu')
  t.match(await add(`tls-creds-psk,id=b,dir=${dir},username=alice`), { parameters: { username: 'alice' } })
  await t.rejects(add(`tls-creds-psk,id=c,dir=${dir},username=bob`), { message: /no key for the user 'bob'/ })
})

void t.test('--object tls-creds-psk - of a server', async (t) => {
  const { objects, add } = newTable(t)
  const dir = tempDir(t)
  fs.writeFileSync(path.join(dir, 'keys.psk'), 'qemu:00ff\nalice:11\n')
  const tls = await add(`tls-creds-psk,id=a,dir=${dir},endpoint=server`)
  t.ok(tls instanceof TLSServerCreds)
  t.strictSame([...(tls as TLSServerCreds).creds.keys!.keys()], ['qemu', 'alice'])
  t.equal(objects.get('a', 'endpoint'), 'server')
  await t.rejects(add(`tls-creds-psk,id=b,dir=${dir},endpoint=server,username=alice`), {
    message: "b: 'username' is for endpoint=client"
  })
  await t.rejects(add(`tls-creds-psk,id=b,dir=${tempDir(t)},endpoint=server`), {
    message: /keys\.psk': no such file/
  })
})
