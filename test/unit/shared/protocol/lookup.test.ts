import t from 'tap'
import {
  nbdCmdLookup,
  nbdErrLookup,
  nbdInfoLookup,
  nbdOptLookup,
  nbdRepLookup
} from '../../../../shared/protocol/lookup.ts'
import * as spec from '../../../helpers/raw-constants.ts'

const tables: [string, RegExp, (value: number) => string][] = [
  ['option', /^NBD_OPT_(?!MAGIC)/, nbdOptLookup],
  ['reply', /^NBD_REP_(?!MAGIC)/, nbdRepLookup],
  ['info', /^NBD_INFO_/, nbdInfoLookup],
  ['command', /^NBD_CMD_(?!FLAG_)/, nbdCmdLookup],
  ['error', /^NBD_E/, nbdErrLookup]
]

for (const [kind, pattern, lookup] of tables) {
  void t.test(`lookup - every ${kind} has its own name`, async (t) => {
    const named = Object.entries(spec).filter(([name]) => pattern.test(name))
    t.ok(named.length >= 4)
    for (const [name, value] of named) t.equal(lookup(Number(value)), name)
  })

  void t.test(`lookup - an unknown ${kind} is named by its number, unsigned`, async (t) => {
    t.equal(lookup(77), `${kind} 77`)
    t.equal(lookup(0xffff), `${kind} 65535`)
    t.equal(lookup(0xffffffff), `${kind} 0xffffffff`)
    t.equal(lookup(-1), `${kind} 0xffffffff`)
  })
}

void t.test('lookup - error 0 is success', async (t) => {
  t.equal(nbdErrLookup(0), 'success')
})
