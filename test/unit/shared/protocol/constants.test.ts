import t from 'tap'
import * as ours from '../../../../shared/protocol/constants.ts'
import * as theirs from '../../../helpers/raw-constants.ts'

const numbers = (module: object): [string, unknown][] =>
  Object.entries(module).filter(([name]) => name.startsWith('NBD_'))
const spec = new Map(numbers(theirs))

for (const [name, value] of numbers(ours)) {
  // Not values of the specification's tables.
  if (['NBD_OK', 'NBD_REP_FLAG_ERROR'].includes(name)) continue
  void t.test(`${name} - is the specification's number`, async (t) => {
    t.ok(spec.has(name), 'it is in the list that was typed from the specification')
    t.equal(value, spec.get(name))
  })
}

void t.test('constants - none of the specification is missing', async (t) => {
  t.strictSame(
    [...spec.keys()].filter((name) => !(name in ours)),
    []
  )
})
