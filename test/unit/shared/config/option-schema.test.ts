import t from 'tap'
import { id } from '../../../../shared/config/id.ts'
import type { OptionObject } from '../../../../shared/config/key-value.ts'
import {
  boolean,
  checkOptions,
  integer,
  object,
  oneOf,
  oneOrList,
  required,
  size,
  string,
  text,
  type OptionMembers
} from '../../../../shared/config/option-schema.ts'

const members = {
  id: required(id),
  name: text,
  writable: boolean,
  'poll-max-ns': integer(0, 1000),
  size,
  locking: oneOf('on', 'off', 'auto'),
  iothread: oneOrList(string),
  file: object({ driver: required(string), offset: size })
} satisfies OptionMembers

const check = (given: OptionObject): unknown => checkOptions(members, { id: 'x', ...given }, '--test')

void t.test('schema - takes texts for what is expected, and JSON as it is', async (t) => {
  const asIs = {
    name: '',
    writable: true,
    'poll-max-ns': 12,
    size: 65536,
    locking: 'auto',
    iothread: ['a', 'b'],
    file: { driver: 'raw', offset: 0 }
  }
  const expected = { id: 'x', ...asIs }
  const file = { driver: 'raw', offset: '0' }
  t.strictSame(
    check({
      name: '',
      writable: 'on',
      'poll-max-ns': '12',
      size: '64K',
      locking: 'auto',
      iothread: ['a', 'b'],
      file
    }),
    expected
  )
  t.strictSame(check(asIs), expected)
  t.strictSame(check({ writable: 'off', iothread: 'a' }), { id: 'x', writable: false, iothread: ['a'] })
  t.strictSame(check({ writable: false }), { id: 'x', writable: false })
})

const wrong: [given: OptionObject, message: string | RegExp][] = [
  [{ writeable: 'on' }, "--test: 'writeable' is unknown; did you mean 'writable'?"],
  [{ 'poll-max': '1' }, /'poll-max' is unknown; known: id, name, /],
  [{ toString: '1' }, /'toString' is unknown/],
  [JSON.parse('{"__proto__": 1}') as OptionObject, /'__proto__' is unknown/],
  [{ writable: 'yes' }, "--test: writable: 'yes' is not 'on' or 'off'"],
  [{ writable: 1 }, "--test: writable: 1 is not 'on' or 'off'"],
  [{ 'poll-max-ns': '-1' }, "--test: poll-max-ns: '-1' is not a number from 0 to 1000"],
  [{ 'poll-max-ns': '1001' }, /'1001' is not a number from 0 to 1000/],
  [{ 'poll-max-ns': '1e2' }, /'1e2' is not a number/],
  [{ 'poll-max-ns': 1.5 }, /'1\.5' is not a number/],
  [{ 'poll-max-ns': '' }, /'' is not a number/],
  [{ 'poll-max-ns': null }, 'null is not a number'],
  [{ 'poll-max-ns': { x: '1' } }, /\{"x":"1"\} is not a number/],
  [{ size: '1Q' }, "--test: size: '1Q' is not a size"],
  [{ size: 0.5 }, /'0\.5' is not a whole number of bytes/],
  [{ size: true }, 'true is not a size'],
  [{ name: 5 }, '5 is not a text'],
  [{ locking: 'maybe' }, "locking: 'maybe' is not 'on' or 'off' or 'auto'"],
  [{ iothread: '' }, "iothread: '' is not a text that is not empty"],
  [{ iothread: ['a', ''] }, "--test: iothread.1: ''"],
  [{ iothread: [] }, 'iothread: [] is not a list'],
  [{ file: 'x' }, "--test: file: 'x' is not an object"],
  [{ file: {} }, "--test: file: 'driver' is missing"],
  [{ file: { driver: 'raw', offset: 'x' } }, "--test: file.offset: 'x' is not a size"],
  [{ file: { driver: 'raw', x: 'x' } }, "--test: file: 'x' is unknown"],
  [{ id: '0x' }, /id: '0x' is not an id/],
  [{ id: 'a b' }, /id: 'a b' is not an id/],
  [{ id: '' }, /id: '' is not an id/],
  [{ id: 'é' }, /id: 'é' is not an id/],
  [{ id: 'a'.repeat(128) }, /is not an id/],
  [{ id: 7 }, /id: 7 is not an id/]
]

void t.test('schema - names the key, the value and what would be right', async (t) => {
  for (const [given, message] of wrong) {
    const name = JSON.stringify(given).slice(0, 60)
    let thrown: { kind?: unknown; message: string } | undefined
    try {
      check(given)
    } catch (error) {
      thrown = error as { message: string }
    }
    t.equal(thrown?.kind, 'config', name)
    if (typeof message === 'string') t.ok(thrown?.message.includes(message), `${thrown?.message}`)
    else t.match(thrown?.message, message, name)
  }
  t.throws(() => checkOptions(members, {}, '--test'), { message: "--test: 'id' is missing" })
})

void t.test('ids - a letter, then letters, digits, - . and _', async (t) => {
  for (const good of ['a', 'io0', 'A.b-c_d9', 'a'.repeat(127)]) t.equal(id.check(good, 'x'), good)
})
