import t from 'tap'
import { knownForms, serverCommand } from '../../../../client/cli/command-line.ts'

const knownLine = (line: string): string[] => knownForms(line.split(' '))

void t.test('knownForms - --map has a value, --progress=FD is an option of its own', async (t) => {
  t.same(knownLine('info --map uri'), ['info', '--map=base:allocation', 'uri'])
  t.same(knownLine('info --map=x uri'), ['info', '--map=x', 'uri'])
  t.same(knownLine('copy --progress=3 a b'), ['copy', '--progress-fd=3', 'a', 'b'])
  t.same(knownLine('copy --progress a b'), ['copy', '--progress', 'a', 'b'])
})

void t.test('knownForms - what stands behind -- stays as it is', async (t) => {
  t.same(knownLine('copy a -- --map --progress=3'), ['copy', 'a', '--', '--map', '--progress=3'])
})

void t.test('knownForms - a server in brackets is one word', async (t) => {
  for (const line of ['copy -p -- [ nbdkit -v memory 1G ] b', 'copy -p [ nbdkit -v memory 1G ] b']) {
    const [command, option, server, destination, ...more] = knownLine(line)
    t.same([command, option, destination, more], ['copy', '-p', 'b', []], line)
    t.same(serverCommand(server!), ['nbdkit', '-v', 'memory', '1G'], line)
  }
})

void t.test('knownForms - several servers, with what may stand in brackets', async (t) => {
  const [one, two, ...more] = knownForms(['--', '[', 'a b', '--map', '--', '[', ']', '[', ']'])
  t.same(serverCommand(one!), ['a b', '--map', '--', '['])
  t.same(serverCommand(two!), [])
  t.same(more, [])
})

void t.test('knownForms - a bracket that is not closed is a word', async (t) => {
  t.same(knownLine('copy [ b'), ['copy', '[', 'b'])
  t.same(knownLine('copy ] b'), ['copy', ']', 'b'])
  for (const word of ['[', ']', '[]', '[a]', '']) t.equal(serverCommand(word), undefined, word)
})
