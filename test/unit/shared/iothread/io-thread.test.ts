import t, { type Test } from 'tap'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import {
  ABSENT,
  DIE,
  DOUBLE,
  ECHO,
  EXIT,
  FAIL,
  FAIL_LATER,
  LOSE,
  NEVER,
  THROW,
  UNPOSTABLE,
  WHERE
} from '../../../helpers/raw-entry-points.ts'
import { untilCollected } from '../../../helpers/garbage.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'

async function start(t: Test, id = 'io-test'): Promise<{ thread: IOThread; faults: Error[] }> {
  const thread = await IOThread.start(id)
  t.teardown(() => thread.stop())
  const faults: Error[] = []
  thread.onFault((error) => faults.push(error))
  return { thread, faults }
}

void t.test('run - gives the result of a function, in a thread of its own', async (t) => {
  const { thread } = await start(t)
  const { thread: other } = await start(t)
  t.equal(await thread.run(DOUBLE, 21), 42)
  const places = [await thread.run(WHERE, undefined), await other.run(WHERE, undefined)]
  t.notOk(places.some(({ main }) => main))
  t.not(places[0]!.thread, places[1]!.thread)
})

void t.test('run - each run gets its own result, in any order of their ends', async (t) => {
  const { thread } = await start(t)
  const results = await Promise.all(
    Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? thread.run(DOUBLE, i) : thread.run(ECHO, 2 * i)))
  )
  t.strictSame(
    results,
    Array.from({ length: 200 }, (_, i) => 2 * i)
  )
})

void t.test('run - argument and result are copied, shared memory is shared', async (t) => {
  const { thread } = await start(t)
  const words = new Int32Array(new SharedArrayBuffer(8))
  const argument = { text: 'é', big: 1n << 60n, map: new Map([[1, new Set([2])]]), words }
  const result = (await thread.run(ECHO, argument)) as typeof argument
  t.strictSame(result.map, argument.map)
  t.equal(result.big, argument.big)
  words[0] = 7
  t.equal(result.words[0], 7)
})

void t.test('run - an error keeps kind, errno, message and stack', async (t) => {
  const { thread, faults } = await start(t)
  for (const kind of ['request', 'protocol', 'transport', 'config', 'bug'] as const) {
    const error: unknown = await thread.run(FAIL, { kind, errno: 28 }).catch((error: unknown) => error)
    t.ok(NBDError.is(error))
    t.match(error, { kind, errno: 28, message: 'it failed', stack: /raw-entry-points/ })
  }
  const error: unknown = await thread.run(FAIL_LATER, 'x is not a function').catch((error: unknown) => error)
  t.notOk(NBDError.is(error))
  t.match(error, { message: 'x is not a function', stack: /failLater/ })
  t.equal(await thread.run(DOUBLE, 1), 2, 'the thread lives')
  t.equal(faults.length, 0)
})

void t.test('run - what cannot be posted, or is not there, fails that run only', async (t) => {
  const { thread, faults } = await start(t)
  await t.rejects(
    thread.run(ECHO, () => undefined),
    { name: 'DataCloneError', message: /cloned/ }
  )
  await t.rejects(thread.run(ABSENT, undefined), { kind: 'bug', message: /no function 'absent'/ })
  await t.rejects(thread.run({ module: 'file:///nonexistent.js', name: 'x' }, undefined), {
    message: /nonexistent/
  })
  t.equal(await thread.run(DOUBLE, 1), 2)
  t.equal(faults.length, 0)
})

void t.test('run - nothing is kept of an argument that cannot be posted', async (t) => {
  const { thread } = await start(t)
  const fail = async (): Promise<WeakRef<WeakKey>> => {
    const run = thread.run(ECHO, () => undefined)
    await t.rejects(run, { name: 'DataCloneError' })
    return new WeakRef(run)
  }
  t.ok(await untilCollected('the run', await fail()))
})

void t.test('run - a result that cannot be posted fails that run only', async (t) => {
  const { thread, faults } = await start(t)
  await t.rejects(within('the run', thread.run(UNPOSTABLE, undefined)), {
    kind: 'bug',
    message: /^the result of unpostable cannot be posted: .*could not be cloned/
  })
  t.equal(await thread.run(DOUBLE, 1), 2)
  t.equal(faults.length, 0)
})

void t.test('run - what is thrown fails that run only, whatever it is', async (t) => {
  const { thread, faults } = await start(t)
  for (const [what, message] of [
    ['nothing', 'undefined'],
    ['symbol', 'Symbol(odd)'],
    ['bare object', '[Object: null prototype] {}'],
    ['odd fields', 'odd fields']
  ] as const) {
    await t.rejects(within(what, thread.run(THROW, what)), { message })
  }
  t.equal(await thread.run(DOUBLE, 1), 2)
  t.equal(faults.length, 0)
})

for (const [how, die, message] of [
  ['an exception that nobody catches', (thread: IOThread) => thread.run(DIE, 'out of luck'), /out of luck/],
  ['process.exit', (thread: IOThread) => thread.run(EXIT, 3), /ended/]
] as const) {
  void t.test(`onFault - a thread that dies of ${how} rejects its runs, and says so once`, async (t) => {
    const { thread, faults } = await start(t, 'io7')
    const runs = [thread.run(NEVER, undefined), thread.run(NEVER, undefined)]
    const dying = die(thread).catch(() => undefined)
    for (const run of runs) {
      await t.rejects(within('the run', run), { kind: 'bug', message: /^IOThread io7 died: / })
    }
    await dying
    await waitFor('onFault', () => faults.length > 0)
    t.match(faults, [{ message }])
    await t.rejects(
      thread.run(DOUBLE, 1),
      { kind: 'bug', message: /^IOThread io7 died: / },
      'a run afterwards'
    )
    await thread.stop()
    t.equal(faults.length, 1)
  })
}

void t.test('stop - ends a thread whatever it does, rejects its runs, and is no fault', async (t) => {
  const { thread, faults } = await start(t)
  const run = thread.run(NEVER, undefined)
  const rejected = t.rejects(within('the run', run), { kind: 'bug', message: /ended/ })
  await within('stop', thread.stop())
  await rejected
  await thread.stop()
  t.equal(faults.length, 0)
})

void t.test('stop - ends a thread that answers nobody', async (t) => {
  const { thread } = await start(t)
  const word = new Int32Array(new SharedArrayBuffer(4))
  const lost = t.rejects(within('the run', thread.run(LOSE, word)), { kind: 'bug', message: /ended/ })
  await waitFor('the thread to be lost', () => Atomics.load(word, 0) === 1)
  await within('stop', thread.stop())
  await lost
})
