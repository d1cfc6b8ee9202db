import t from 'tap'
import {
  MAX_KEY_FRAGMENT,
  MAX_OPTION_DEPTH,
  MAX_OPTION_TEXT,
  parseOptionText
} from '../../../../shared/config/key-value.ts'

const parse = (text: string, implied?: string): unknown => parseOptionText(text, '--test', implied)

const good: [text: string, result: unknown][] = [
  ['', {}],
  ['a=1', { a: '1' }],
  ['a=', { a: '' }],
  ['a=1,b=2', { a: '1', b: '2' }],
  ['a=1,', { a: '1' }],
  ['a=x=y', { a: 'x=y' }],
  ['a=x,,y,b=,,', { a: 'x,y', b: ',' }],
  ['a=,,,,', { a: ',,' }],
  ['a=x,,,b=1', { a: 'x,', b: '1' }],
  ['poll-max-ns=0,x_1=y', { 'poll-max-ns': '0', x_1: 'y' }],
  [
    'file.driver=file,file.filename=x.y,driver=raw',
    { file: { driver: 'file', filename: 'x.y' }, driver: 'raw' }
  ],
  ['a.b.c=1,a.b.d=2', { a: { b: { c: '1', d: '2' } } }],
  ['l.1=b,l.0=a', { l: ['a', 'b'] }],
  ['l.0.x=1,l.1.x=2', { l: [{ x: '1' }, { x: '2' }] }],
  ['l.0.0=a', { l: [['a']] }],
  ['constructor=1,toString.x=2', { constructor: '1', toString: { x: '2' } }]
]

void t.test('key=value - commas, dots and lists', async (t) => {
  for (const [text, result] of good) t.strictSame(parse(text), result, text)
  const eleven = Array.from({ length: 11 }, (_, i) => `l.${i}=${i}`)
  t.strictSame(parse(eleven.join()), { l: eleven.map((_, i) => String(i)) })
})

void t.test('key=value - an implied first key', async (t) => {
  t.strictSame(parse('iothread,id=io0', 'qom-type'), { 'qom-type': 'iothread', id: 'io0' })
  t.strictSame(parse('id=io0,qom-type=iothread', 'qom-type'), { id: 'io0', 'qom-type': 'iothread' })
  t.strictSame(parse('a,,b,x=1', 'k'), { k: 'a,b', x: '1' })
  t.throws(() => parse('iothread,id', 'qom-type'), { message: "--test: '=' was expected after 'id'" })
  t.throws(() => parse('iothread,qom-type=x', 'qom-type'), { message: /'qom-type' is given twice/ })
})

const bad: [text: string, message: RegExp][] = [
  ['a', /'=' was expected after 'a'/],
  ['a=1,b', /'=' was expected after 'b'/],
  [',a=1', /',' where a key/],
  ['=1', /a key is empty/],
  ['a=1,=2', /a key is empty/],
  ['a.=1', /part of the key 'a\.' is empty/],
  ['.a=1', /is empty/],
  ['a..b=1', /is empty/],
  ['a=1,a=2', /'a' is given twice/],
  ['a.b=1,a.b=2', /'a\.b' is given twice/],
  ['a=1,a.b=2', /'a\.b': a part of it has a value already/],
  ['a.b=1,a=2', /'a' is given twice/],
  ['a.0=x,a.b=y', /'a' is both a list and an object/],
  ['a.0=x,a.2=y', /'a\.1' is missing/],
  ['a.1=x', /'a\.0' is missing/],
  ['a.0=x,a.00=y', /'a\.1' is missing/],
  ['a.99999999999999999999=x', /'a\.0' is missing/],
  ['0=x', /'0' is not a key/],
  ['a b=1', /'a b' is not a key/],
  ['__proto__=1', /'__proto__' is not a key/],
  ['a.__proto__.b=1', /is not a key/],
  ['ä=1', /is not a key/],
  [`${'a'.repeat(MAX_KEY_FRAGMENT + 1)}=1`, /128 characters is longer than 127/],
  [`a${'.a'.repeat(MAX_OPTION_DEPTH)}=1`, /more than 16 parts/],
  [`a=${'x'.repeat(MAX_OPTION_TEXT)}`, /65538 characters are more than 65536/]
]

void t.test('key=value - what cannot be is refused, in one line that says why', async (t) => {
  for (const [text, message] of bad) {
    t.throws(() => parse(text), { kind: 'config', message: /^--test: [^\n]+$/ }, text.slice(0, 40))
    t.throws(() => parse(text), { message }, text.slice(0, 40))
  }
  t.strictSame(parse(`${'a'.repeat(MAX_KEY_FRAGMENT)}=1`), { ['a'.repeat(MAX_KEY_FRAGMENT)]: '1' })
  t.equal(({} as Record<string, unknown>)['b'], undefined, 'no prototype was changed')
})

void t.test('JSON - when the text begins with a brace', async (t) => {
  const value = { driver: 'raw', size: 512, 'read-only': true, file: { a: [1, 'x', null, { b: {} }] } }
  t.strictSame(parse(JSON.stringify(value)), value)
  t.strictSame(parse('{"a": "{\\"a\\": [1,"}'), { a: '{"a": [1,' }, 'what looks like JSON in a text')
  t.strictSame(parse('{"a": {"x": 1}, "b": {"x": 2}}'), { a: { x: 1 }, b: { x: 2 } })
})

void t.test('JSON - what cannot be is refused', async (t) => {
  const deep = '{"a":'.repeat(MAX_OPTION_DEPTH + 1) + '1' + '}'.repeat(MAX_OPTION_DEPTH + 1)
  const texts: [text: string, message: RegExp][] = [
    ['{', /not JSON/],
    ['{"a": 1} x', /not JSON/],
    ['{"a": 1, "a": 2}', /'a' is given twice/],
    ['{"a": 1, "\\u0061" : 2}', /'a' is given twice/],
    ['{"x": {"": 1}}', /a key is empty/],
    [deep, /more than 16 levels/],
    [`{"a": ${'['.repeat(MAX_OPTION_DEPTH)}${']'.repeat(MAX_OPTION_DEPTH)}}`, /more than 16 levels/]
  ]
  for (const [text, message] of texts) {
    t.throws(() => parse(text), { kind: 'config', message }, text.slice(0, 40))
  }
})
