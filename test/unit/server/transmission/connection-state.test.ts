import t from 'tap'
import { ConnectionState } from '../../../../server/transmission/connection-state.ts'

void t.test('counters - are exact beyond 32 bits', async (t) => {
  const memory = ConnectionState.allocate(1)
  const [one, other] = [new ConnectionState(memory), new ConnectionState(memory)]
  const bytes = 2 ** 31 - 1
  for (let i = 0; i < 10; i++) (i % 2 === 0 ? one : other).countBatch(3, bytes)
  one.countHandOver()
  t.strictSame(other.counters, { requests: 30, bytes: 10 * bytes, batches: 10, handOvers: 1 })
})

void t.test('phases - serving, ending, broken, and only the first to break it is told so', async (t) => {
  const memory = ConnectionState.allocate(1)
  const [one, other] = [new ConnectionState(memory), new ConnectionState(memory)]
  t.equal(one.serving, true)
  other.end()
  t.equal(one.serving, false)
  t.equal(one.break(), true)
  t.equal(other.break(), false)
  other.end()
  t.equal(one.serving, false)
})

void t.test('help - is asked for once, and seen once', async (t) => {
  const memory = ConnectionState.allocate(1)
  const [thread, main] = [new ConnectionState(memory), new ConnectionState(memory)]
  t.equal(main.takeHelp(), false)
  t.equal(thread.askForHelp(), true)
  t.equal(thread.askForHelp(), false)
  t.equal(main.takeHelp(), true)
  t.equal(main.takeHelp(), false)
  t.equal(thread.askForHelp(), false)
})

void t.test('in flight - is counted over all threads', async (t) => {
  const memory = ConnectionState.allocate(64)
  const [one, other] = [new ConnectionState(memory), new ConnectionState(memory)]
  one.begin(10)
  other.begin(20)
  t.strictSame([one.requests, one.bytes, one.maxBytes], [2, 30, 64])
  one.done(20)
  other.done(10)
  t.strictSame([other.requests, other.bytes], [0, 0])
  t.equal(one.parts, 1)
  other.addPart()
  one.removePart()
  t.equal(one.parts, 1)
})
