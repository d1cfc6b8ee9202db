import * as fs from 'node:fs'
import t, { type Test } from 'tap'
import { parseOptionText } from '../../../../shared/config/key-value.ts'
import { findIOThread, ObjectTable, registerObjectType } from '../../../../shared/object/index.ts'
import { IN_EFFECT } from '../../../helpers/raw-entry-points.ts'

function newTable(t: Test): { objects: ObjectTable; add: (text: string) => Promise<unknown> } {
  const objects = new ObjectTable()
  t.teardown(() => objects.close())
  return { objects, add: (text) => objects.add(parseOptionText(text, '--object', 'qom-type')) }
}

// A type whose objects do nothing: for what iothread does not show.
const closed: string[] = []
registerObjectType({
  name: 'test',
  options: {},
  settable: [],
  readable: [],
  create: async (id) => ({
    type: 'test',
    id,
    get: () => undefined,
    set: async () => undefined,
    close: async () => void closed.push(id)
  })
})

void t.test('--object iothread - starts a thread with these properties', async (t) => {
  const { objects, add } = newTable(t)
  await add(
    'iothread,id=io0,poll-max-ns=32768,poll-grow=2,poll-shrink=2,aio-max-batch=0,thread-pool-min=0,thread-pool-max=64'
  )
  await add('{"qom-type": "iothread", "id": "io1", "poll-max-ns": 0}')
  t.same(
    objects.list().map(({ type, id }) => [type, id]),
    [
      ['iothread', 'io0'],
      ['iothread', 'io1']
    ]
  )
  const { polling } = await findIOThread(objects, 'io0', '--export').run(IN_EFFECT, undefined)
  t.strictSame(polling, { pollMaxNs: 32768, pollGrow: 2, pollShrink: 2 })
  t.equal(objects.get('io1', 'poll-max-ns'), 0)
  t.equal(objects.get('io1', 'type'), 'iothread')
  t.ok(fs.existsSync(`/proc/self/task/${objects.get('io1', 'thread-id') as number}`))
})

const wrong: [text: string, message: string | RegExp][] = [
  ['', "--object: 'qom-type' is missing"],
  ['id=io1', "--object: 'qom-type' is missing"],
  ['iothread', "--object: 'id' is missing"],
  ['iotread,id=io1', "--object: the object type 'iotread' is unknown; did you mean 'iothread'?"],
  ['secret0,id=io1', /the object type 'secret0' is unknown; known: iothread, test/],
  ['iothread,id=io0', "--object: the id 'io0' is taken"],
  ['iothread,id=0io', /--object: id: '0io' is not an id/],
  ['iothread,id=', /--object: id: '' is not an id/],
  ['iothread,id=io1,poll-maxns=1', "--object: 'poll-maxns' is unknown; did you mean 'poll-max-ns'?"],
  ['iothread,id=io1,poll-max-ns=-1', /--object: poll-max-ns: '-1' is not a number from 0 to/],
  ['iothread,id=io1,poll-max-ns=fast', /poll-max-ns: 'fast' is not a number/],
  ['iothread,id=io1,thread-pool-min=9,thread-pool-max=8', /thread-pool-min 9 is more than thread-pool-max 8/],
  ['iothread,id=io1,thread-id=9', "--object: 'thread-id' is unknown"]
]

void t.test('add - refuses what is unknown, missing, taken or out of range', async (t) => {
  const { objects, add } = newTable(t)
  await add('iothread,id=io0')
  for (const [text, message] of wrong) {
    const error = await add(text).catch((error: unknown) => error as Error)
    t.match(error, { kind: 'config' }, text)
    const { message: told } = error as Error
    t.ok(typeof message === 'string' ? told.startsWith(message) : message.test(told), `${text}: ${told}`)
  }
  t.equal(objects.list().length, 1, 'nothing was made')
  const both = await Promise.allSettled([add('iothread,id=io1'), add('iothread,id=io1')])
  t.same(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'one of two at the same time')
})

void t.test('get and set - while the object lives', async (t) => {
  const { objects, add } = newTable(t)
  await add('iothread,id=io0')
  await objects.set('io0', 'poll-max-ns', '5000')
  await objects.set('io0', 'thread-pool-max', 8)
  t.equal(objects.get('io0', 'poll-max-ns'), 5000)
  const { polling, properties } = await findIOThread(objects, 'io0', 'test').run(IN_EFFECT, undefined)
  t.equal(polling.pollMaxNs, 5000)
  t.equal(properties['thread-pool-max'], 8)

  await t.rejects(objects.set('io0', 'poll-max-ns', '-1'), {
    kind: 'config',
    message: "io0: poll-max-ns: '-1' is not a number from 0 to 9007199254740991"
  })
  await t.rejects(objects.set('io0', 'thread-id', '1'), { message: "io0: 'thread-id' can only be read" })
  await t.rejects(objects.set('io0', 'type', 'x'), { message: "io0: 'type' can only be read" })
  await t.rejects(objects.set('io0', 'pol-max-ns', '1'), {
    message: "io0: the property 'pol-max-ns' is unknown; did you mean 'poll-max-ns'?"
  })
  await t.rejects(objects.set('io9', 'poll-max-ns', '1'), { message: /there is no object 'io9'/ })
  t.throws(() => objects.get('io0', 'speed'), {
    kind: 'config',
    message: /'speed' is unknown; known: poll-max-ns/
  })
  t.equal(objects.get('io0', 'poll-max-ns'), 5000, 'nothing has changed')
})

void t.test('findIOThread - tells what is not there from what is no iothread', async (t) => {
  const { objects, add } = newTable(t)
  await add('test,id=a')
  t.throws(() => findIOThread(objects, 'b', '--export: iothread'), {
    kind: 'config',
    message: "--export: iothread: there is no object 'b'"
  })
  t.throws(() => findIOThread(objects, 'a', '--export: iothread'), {
    message: "--export: iothread: 'a' is an object of type test, not an iothread"
  })
})

void t.test('close - ends the objects, the last one first', async (t) => {
  const { objects, add } = newTable(t)
  for (const id of ['a', 'b', 'c']) await add(`test,id=${id}`)
  await objects.close()
  t.same(closed.splice(0).slice(-3), ['c', 'b', 'a'])
  t.same(objects.list(), [])
})
