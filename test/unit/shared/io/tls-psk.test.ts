import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { loadClientPsk, loadServerPsk } from '../../../../shared/io/tls-psk.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

void t.test("tls-psk - a user's key", async (t) => {
  const file = path.join(tempDir(t), 'keys.psk')
  fs.writeFileSync(file, '# a comment\nalice:00aAff\nalice2:01\r\nbob:xyz\nempty:\nodd:123\n')
  const key = (user: string): string | undefined => loadClientPsk(file, user).psk?.key
  t.equal(key('alice'), '00aAff')
  t.equal(key('alice2'), '01')
  t.strictSame(loadClientPsk(file, 'alice'), {
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

void t.test('tls-psk - the keys of all users', async (t) => {
  const file = path.join(tempDir(t), 'keys.psk')
  const load = (text: string): ReturnType<typeof loadServerPsk> => {
    fs.writeFileSync(file, text)
    return loadServerPsk(file)
  }
  t.strictSame(
    load('# a comment\n\nalice:00aAff\r\nbob:01\nalice:02\n').keys,
    new Map([
      ['alice', '00aAff'],
      ['bob', '01']
    ])
  )
  t.strictSame(load(`${'x'.repeat(256)}:${'ab'.repeat(512)}`).keys?.size, 1)
  for (const text of ['secret', ':00', `${'x'.repeat(257)}:00`, 'a\0b:00']) {
    const error = { kind: 'config', message: `'${file}': line 2 is not USER:KEY` }
    t.throws(() => load(`a:00\n${text}`), error, text.slice(0, 9))
  }
  for (const key of ['', '0', 'xy', '00:00', 'ab'.repeat(513)])
    t.throws(
      () => load(`a:${key}`),
      { kind: 'config', message: /the key of 'a' is not 1 to 512 bytes/ },
      key.slice(0, 9)
    )
  for (const text of ['', '# nobody\n'])
    t.throws(() => load(text), { kind: 'config', message: /has no key$/ })
})

void t.test('tls-psk - a file that cannot be used', async (t) => {
  const folder = tempDir(t)
  const missing = path.join(folder, 'missing')
  t.throws(() => loadClientPsk(missing, 'a'), { kind: 'config', message: /cannot read .*: no such file/ })
  t.throws(() => loadClientPsk(folder, 'a'), { kind: 'config', message: /is not a file$/ })
  const large = path.join(folder, 'large')
  fs.writeFileSync(large, '')
  fs.truncateSync(large, 1024 * 1024 + 1)
  t.throws(() => loadClientPsk(large, 'a'), { kind: 'config', message: /is too large/ })
  t.throws(() => loadServerPsk(large), { kind: 'config', message: /is too large/ })
})
