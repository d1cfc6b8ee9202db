import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { requires } from '../helpers/requires.ts'
import { TestCA } from '../helpers/tls-certs.ts'

void t.test('ready line - its URI asks for TLS when clients must', requires('certtool'), async (t) => {
  const { folder } = TestCA.make(t).server()
  const uri = async (...args: string[]): Promise<string> =>
    (await Mqnbd.serve(t, ['memory:1M', '--tls-creds', folder, ...args])).uri
  t.match(await uri(), /^nbds\+unix:\/\/\/\?socket=/)
  t.match(await uri('-p', '0', '--tls', 'require'), /^nbds:\/\/localhost:\d+$/)
  t.match(await uri('-p', '0', '--tls', 'on'), /^nbd:\/\/localhost:\d+$/)
  t.match(await uri('--tls', 'off'), /^nbd\+unix:/)
})
