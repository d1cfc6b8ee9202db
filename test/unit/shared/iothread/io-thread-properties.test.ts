import * as fs from 'node:fs'
import t, { type Test } from 'tap'
import { IOThread } from '../../../../shared/iothread/io-thread.ts'
import type { IOThreadProperties } from '../../../../shared/iothread/io-thread-properties.ts'
import { DIE, IN_EFFECT } from '../../../helpers/raw-entry-points.ts'

async function start(t: Test, properties?: Partial<IOThreadProperties>): Promise<IOThread> {
  const thread = await IOThread.start('io0', properties)
  t.teardown(() => thread.stop())
  return thread
}

const defaults = {
  'poll-max-ns': 32768,
  'poll-grow': 0,
  'poll-shrink': 0,
  'aio-max-batch': 0,
  'thread-pool-min': 0,
  'thread-pool-max': 64
}

void t.test('properties - have the defaults of QEMU', async (t) => {
  const thread = await start(t)
  t.strictSame(thread.properties, defaults)
  t.strictSame(await thread.run(IN_EFFECT, undefined), {
    polling: { pollMaxNs: 32768, pollGrow: 0, pollShrink: 0 },
    pool: { min: 0, max: 64 },
    properties: defaults
  })
})

void t.test('properties - those that were given are in effect from the start', async (t) => {
  const given = {
    'poll-max-ns': 1000,
    'poll-grow': 3,
    'poll-shrink': 4,
    'aio-max-batch': 5,
    'thread-pool-max': 7
  }
  const thread = await start(t, given)
  t.strictSame(thread.properties, { ...defaults, ...given })
  t.strictSame(await thread.run(IN_EFFECT, undefined), {
    polling: { pollMaxNs: 1000, pollGrow: 3, pollShrink: 4 },
    pool: { min: 0, max: 7 },
    properties: { ...defaults, ...given }
  })
})

void t.test('set - takes effect in the running thread, and leaves the others as they were', async (t) => {
  const thread = await start(t, { 'poll-grow': 3 })
  await thread.set({ 'poll-max-ns': 0, 'thread-pool-min': 2 })
  const expected = { ...defaults, 'poll-grow': 3, 'poll-max-ns': 0, 'thread-pool-min': 2 }
  t.strictSame(thread.properties, expected)
  t.strictSame(await thread.run(IN_EFFECT, undefined), {
    polling: { pollMaxNs: 0, pollGrow: 3, pollShrink: 0 },
    pool: { min: 2, max: 64 },
    properties: expected
  })

  await Promise.all([
    thread.set({ 'poll-max-ns': 1 }),
    thread.set({ 'poll-grow': 7 }),
    thread.set({ 'poll-max-ns': 9 })
  ])
  const { polling } = await thread.run(IN_EFFECT, undefined)
  t.strictSame(polling, { pollMaxNs: 9, pollGrow: 7, pollShrink: 0 }, 'changes that are made together')
})

void t.test('info - tells id, thread and properties', async (t) => {
  const thread = await start(t)
  const info = thread.info()
  t.match(info, { id: 'io0', ...defaults })
  t.ok(fs.existsSync(`/proc/self/task/${info['thread-id']}`), 'a thread of this process')
  t.not(info['thread-id'], process.pid, 'but not its first')
})

const wrong: [changes: Record<string, unknown>, message: RegExp][] = [
  [{ 'poll-max-ns': -1 }, /^IOThread io0: poll-max-ns: '-1' is not a number from 0 to 9007199254740991$/],
  [{ 'poll-grow': 1.5 }, /poll-grow: '1\.5'/],
  [{ 'poll-shrink': NaN }, /poll-shrink: 'NaN'/],
  [{ 'aio-max-batch': 2 ** 53 }, /aio-max-batch: '9007199254740992'/],
  [{ 'thread-pool-max': 0 }, /thread-pool-max: '0' is not a number from 1/],
  [{ 'thread-pool-max': 2 ** 31 }, /thread-pool-max: '2147483648'/],
  [{ 'thread-pool-min': 65 }, /thread-pool-min 65 is more than thread-pool-max 64/],
  [{ 'poll-max-ns': undefined }, /poll-max-ns: undefined is not a number/],
  [{ 'poll-max': 1 }, /'poll-max' is unknown/]
]

void t.test('start and set - refuse what cannot be, and nothing changes', async (t) => {
  const thread = await start(t)
  for (const [changes, message] of wrong) {
    const what = JSON.stringify(changes)
    await t.rejects(thread.set({ 'poll-grow': 9, ...changes }), { kind: 'config', message }, what)
    await t.rejects(IOThread.start('io0', changes), { kind: 'config', message }, `start ${what}`)
  }
  t.strictSame(thread.properties, defaults)
})

void t.test('set - rejects when the thread has died', async (t) => {
  const thread = await start(t)
  const died = new Promise((resolve) => thread.onFault(resolve))
  await thread.run(DIE, 'out of luck').catch(() => undefined)
  await died
  await t.rejects(thread.set({ 'poll-grow': 1 }), { kind: 'bug', message: /^IOThread io0 died: out of luck/ })
  t.match(thread.fault, { message: /out of luck/ })
})
