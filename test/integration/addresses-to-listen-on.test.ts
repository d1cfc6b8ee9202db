import * as os from 'node:os'
import t from 'tap'
import { runOk } from '../helpers/launched.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'

const hasIPv6 = Object.values(os.networkInterfaces()).some((all) =>
  all!.some(({ address }) => address === '::1')
)

const binds: [bind: string[], uri: RegExp][] = [
  [[], /^nbd:\/\/localhost:\d+$/],
  [['-b', '127.0.0.1'], /^nbd:\/\/127\.0\.0\.1:\d+$/],
  [['-b', '0.0.0.0'], /^nbd:\/\/localhost:\d+$/],
  [['-b', '::1'], /^nbd:\/\/\[::1\]:\d+$/],
  [['-b', '::'], /^nbd:\/\/localhost:\d+$/]
]

for (const [bind, pattern] of binds) {
  const needsIPv6 = bind[1]?.includes(':') === true && !hasIPv6
  const options = needsIPv6 ? { skip: 'there is no IPv6 here' } : requires('nbdinfo')
  void t.test(`-p 0 ${bind.join(' ')} - prints a URI that works`, options, async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M', '-p', '0', ...bind])
    t.match(server.uri, pattern)
    t.not(new URL(server.uri).port, '0', 'with the real port')
    t.equal(await runOk(t, program('nbdinfo'), ['--size', server.uri]), '1048576\n')
  })
}

void t.test('the name of the export is in the URI, encoded', requires('nbdinfo'), async (t) => {
  const name = 'a/b c?d#e%f&g=ü'
  for (const where of [[], ['-p', '0']]) {
    const server = await Mqnbd.serve(t, ['memory:1M', '-x', name, ...where])
    t.equal(await runOk(t, program('nbdinfo'), ['--size', server.uri]), '1048576\n', server.uri)
  }
})
