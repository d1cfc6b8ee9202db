import t from 'tap'
import { shell, sparseImage } from '../helpers/copying.ts'
import { mqnbd } from '../helpers/mqnbd.ts'

void t.test('copy - tells how far it is, to programs and to people', async (t) => {
  const original = sparseImage(t)
  const numbers = await shell(t, '$MQNBD copy --progress=3 "$1" null: 3>&1 >/dev/null', original)
  const lines = numbers.stdout.split('\n').slice(0, -1)
  t.same([lines[0], lines.at(-1)], ['0/100', '100/100'])
  t.ok(lines.every((line) => /^\d+\/100$/.test(line)))
  const values = lines.map((line) => parseInt(line))
  t.same(
    values,
    [...new Set(values)].sort((a, b) => a - b),
    'rising'
  )
  const people = await mqnbd(t, 'copy', '-p', original, 'null:')
  t.match(people.stderr, /^100% {2}40\.0 MiB, .*\/s, \d+ s\n$/m)
  t.equal(people.stdout, '')
})
