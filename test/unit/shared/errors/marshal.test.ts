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

void t.test('marshal - an error of another class is no NBDError afterwards', async (t) => {
  const error = new TypeError('x is not a function')
  const back = unmarshalError(structuredClone(marshalError(error)))
  t.notOk(NBDError.is(back))
  t.match(back, { message: error.message, stack: error.stack })
})

void t.test('marshal - what is no error at all becomes one', async (t) => {
  for (const [thrown, message] of [
    ['text', 'text'],
    [undefined, 'undefined'],
    [null, 'null'],
    [7, '7']
  ] as const) {
    const back = unmarshalError(structuredClone(marshalError(thrown)))
    t.ok(back instanceof Error)
    t.equal(back.message, message)
  }
})
