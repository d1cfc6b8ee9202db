import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { loadPskCreds } from '../../../../shared/io/tls-psk.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

void t.test("tls-psk - a user's key", async (t) => {
  const file = path.join(tempDir(t), 'keys.psk')
  fs.writeFileSync(file, '# a comment\nalice:00aAff\nalice2:01\r\nbob:xyz\nempty:\nodd:123\n')
  const key = (user: string): string | undefined => loadPskCreds(file, user).psk?.key
  t.equal(key('alice'), '00aAff')
  t.equal(key('alice2'), '01')
  t.strictSame(loadPskCreds(file, 'alice'), {
    ca: undefined,
    cert: undefined,
    key: undefined,
    psk: { username: 'alice', key: '00aAff' }
  })
  for (const user of ['bob', 'empty', 'odd'])
    t.throws(() => key(user), { kind: 'config', message: /hexadecimal digits$/ }, user)
  t.throws(() => key('ali'), { kind: 'config', message: /has no key for the user 'ali'$/ })
  for (const user of ['', 'a:b', 'x'.repeat(257)])
    t.throws(() => key(user), { kind: 'config', message: /cannot be the user name/ }, user.slice(0, 9))
})

void t.test('tls-psk - a file that cannot be used', async (t) => {
  const folder = tempDir(t)
  const missing = path.join(folder, 'missing')
  t.throws(() => loadPskCreds(missing, 'a'), { kind: 'config', message: /cannot read .*: no such file/ })
  t.throws(() => loadPskCreds(folder, 'a'), { kind: 'config', message: /is not a file$/ })
  const large = path.join(folder, 'large')
  fs.writeFileSync(large, '')
  fs.truncateSync(large, 1024 * 1024 + 1)
  t.throws(() => loadPskCreds(large, 'a'), { kind: 'config', message: /is too large/ })
})
