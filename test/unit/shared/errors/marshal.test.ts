import t from 'tap'
import { marshalError, unmarshalError } from '../../../../shared/errors/marshal.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'

void t.test(
  'marshal - an NBDError keeps kind, errno, message and stack, through a structured clone',
  async (t) => {
    for (const kind of ['request', 'protocol', 'transport', 'config', 'bug'] as const) {
      const error = new NBDError(kind, 'what happened', { errno: 28 })
      const back = unmarshalError(structuredClone(marshalError(error)))
      t.ok(NBDError.is(back))
      t.match(back, { kind, errno: 28, message: 'what happened', stack: error.stack })
    }
  }
)

void t.test('marshal - an error of JavaScript keeps its class, one of another class its name', async (t) => {
  for (const error of [new TypeError('not a function'), new RangeError('too far'), new Error('plain')]) {
    const back = unmarshalError(structuredClone(marshalError(error)))
    t.notOk(NBDError.is(back))
    t.equal(back.constructor, error.constructor)
    t.match(back, { name: error.name, message: error.message, stack: error.stack })
  }
  const abort = unmarshalError(structuredClone(marshalError(AbortSignal.abort().reason)))
  t.match(abort, { constructor: Error, name: 'AbortError', message: /aborted/ })
})

void t.test('marshal - an error of Node keeps code and errno', async (t) => {
  const error = Object.assign(new Error('no such file'), { code: 'ENOENT', errno: -2 })
  t.match(unmarshalError(structuredClone(marshalError(error))), { code: 'ENOENT', errno: -2 })
})

void t.test('marshal - fields that are not what they should be are left out', async (t) => {
  const error = Object.assign(new Error('odd'), { code: () => undefined, errno: Symbol('odd') })
  const back = unmarshalError(structuredClone(marshalError(error)))
  t.equal(back.message, 'odd')
  t.notOk('code' in back)
  t.notOk('errno' in back)
})

void t.test('marshal - what is no error at all becomes one', async (t) => {
  for (const [thrown, message] of [
    ['text', 'text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [7, '7'],
    [Symbol('odd'), 'Symbol(odd)'],
    [Object.create(null), '[Object: null prototype] {}']
  ] as const) {
    const back = unmarshalError(structuredClone(marshalError(thrown)))
    t.ok(back instanceof Error)
    t.equal(back.message, message)
  }
})
