import t from 'tap'
import { InlineWritePolicy } from '../../../../../../shared/block/drivers/file/inline-write-policy.ts'
import { voluntarySwitches } from '../../../../../../shared/syscall/thread.ts'

const LENGTH = 4096

/** A policy, and a thread that writes: at each write so many ms go by, in which it waits, or loses its processor. */
function writer(): {
  write: (ms: number, waits: boolean) => boolean
  later: (ms: number) => void
  asked: () => number
} {
  let [now, switches, asked] = [1000, 0, 0]
  const policy = new InlineWritePolicy(
    () => {
      asked++
      return switches
    },
    () => now
  )
  return {
    write: (ms, waits) => {
      if (!policy.allows(LENGTH)) return false
      // It has waited for requests.
      switches++
      policy.begin()
      now += ms
      if (waits) switches++
      policy.end()
      return true
    },
    later: (ms) => void (now += ms),
    asked: () => asked
  }
}

void t.test('writes are inline, without a question, while they are fast', async (t) => {
  const { write, asked } = writer()
  for (let i = 0; i < 100; i++) t.equal(write(1, true), true)
  t.equal(asked(), 0)
})

void t.test('writes that wait are not inline for a while', async (t) => {
  const { write, later } = writer()
  t.equal(write(20, true), true)
  t.equal(write(20, true), true, 'the first one only makes it look')
  t.equal(write(1, true), false)
  later(99)
  t.equal(write(1, true), false)
  later(2)
  t.equal(write(1, true), true, 'another try')
  t.equal(write(20, true), true)
  t.equal(write(1, true), false, 'one is enough now')
})

void t.test('writes that lose their processor stay inline', async (t) => {
  const { write, later, asked } = writer()
  for (let i = 0; i < 100; i++) t.equal(write(20, false), true)
  t.ok(asked() > 0)
  later(1001)
  const before = asked()
  t.equal(write(1, false), true)
  t.equal(asked(), before, 'after a second without, nobody is asked')
})

void t.test('writes that are large are never inline', async (t) => {
  const policy = new InlineWritePolicy()
  t.equal(policy.allows(1024 * 1024), true)
  t.equal(policy.allows(1024 * 1024 + 1), false)
})

void t.test('voluntarySwitches - counts waiting', async (t) => {
  const before = voluntarySwitches()
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
  t.ok(voluntarySwitches() > before)
})
