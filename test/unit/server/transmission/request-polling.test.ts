import t from 'tap'
import { RequestPolling } from '../../../../server/transmission/request-polling.ts'
import { AioContext } from '../../../../shared/aio/aio-context.ts'
import { WOKEN, type WindowReader } from '../../../../shared/io/window-reader.ts'

const { polling } = AioContext.current()

/** A second, so that a machine that does something else meanwhile changes nothing. */
const LONG_NS = 1e9

t.beforeEach(() => {
  polling.options = { pollMaxNs: LONG_NS, pollGrow: 1e6, pollShrink: 0 }
})

/** Bytes of a request. */
const REQUEST = 28

interface Scripted {
  polling: RequestPolling
  /** From now on looks find what the script says. */
  begin: () => void
  /** How often it has looked since then. */
  looks: () => number
}

/** @param results what each look finds, the last one again and again */
function scripted(...results: number[]): Scripted {
  let looks = -Infinity
  const reader = {
    receiveNow: () => (looks < 0 ? REQUEST : results[Math.min(looks++, results.length - 1)]!)
  } as unknown as WindowReader
  return { polling: new RequestPolling(reader), begin: () => (looks = 0), looks: () => looks }
}

/** Its client has sent one request after the other, soon after each reply. */
function settle({ polling, begin }: Scripted): void {
  for (let i = 0; i < 20; i++) {
    polling.batchDone(true)
    polling.poll()
    polling.waited()
  }
  polling.batchDone(true)
  begin()
}

void t.test('poll - finds the next request of a client that sends one at a time', async (t) => {
  const before = polling.spentNs
  let one: Scripted
  // Whoever loses the processor between two looks does not go on: until none did.
  do {
    one = scripted(WOKEN, WOKEN, REQUEST)
    settle(one)
  } while (!one.polling.poll())
  t.equal(one.looks(), 3)
  t.equal(one.polling.found, true)
  t.ok(polling.spentNs > before, 'the time is counted')
})

void t.test('poll - leaves the end of the stream to whoever waits', async (t) => {
  const one = scripted(0)
  settle(one)
  t.equal(one.polling.poll(), false)
  t.equal(one.looks(), 1)
  t.equal(one.polling.found, false)
})

void t.test('poll - gives up when the time is over', async (t) => {
  const one = scripted(WOKEN)
  polling.options = { pollMaxNs: 50_000, pollGrow: 1e6, pollShrink: 1 }
  // A pause of 50 us may be longer on a machine that has other work: until one was short enough.
  while (one.looks() === 0) {
    settle(one)
    t.equal(one.polling.poll(), false)
  }
})

void t.test('poll - does not look before it knows the client', async (t) => {
  const one = scripted(REQUEST)
  one.begin()
  for (let i = 0; i < 10; i++) {
    one.polling.batchDone(true)
    t.equal(one.polling.poll(), false)
    one.polling.waited()
  }
  t.equal(one.looks(), 0)
})

void t.test('poll - does not look when several requests come together', async (t) => {
  const one = scripted(REQUEST)
  settle(one)
  one.polling.batchDone(false)
  t.equal(one.polling.poll(), false)
  t.equal(one.looks(), 0)
})

void t.test('poll - does not look while another connection of the thread has requests', async (t) => {
  const one = scripted(REQUEST)
  const other = scripted(REQUEST)
  settle(one)
  other.polling.batchDone(true)
  one.polling.batchDone(true)
  t.equal(one.polling.poll(), false)
  t.equal(one.looks(), 0)
})

void t.test('poll - does not look when the thread has other work', async (t) => {
  const one = scripted(WOKEN)
  settle(one)
  AioContext.current().notify()
  t.equal(one.polling.poll(), false)
  t.equal(one.looks(), 0)
})

void t.test('poll - never looks with poll-max-ns=0', async (t) => {
  const one = scripted(REQUEST)
  polling.options = { pollMaxNs: 0, pollGrow: 0, pollShrink: 0 }
  settle(one)
  t.equal(one.polling.poll(), false)
  t.equal(one.looks(), 0)
})
