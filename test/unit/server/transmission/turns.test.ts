import t from 'tap'
import type { ConnectionState } from '../../../../server/transmission/connection-state.ts'
import { requestForm } from '../../../../server/transmission/request-form.ts'
import { Turns } from '../../../../server/transmission/turns.ts'
import type { CoMutexShared } from '../../../../shared/coroutine/co-mutex-shared.ts'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { ReadAhead } from '../../../../shared/io/read-ahead.ts'
import { ReceiveWindow } from '../../../../shared/io/receive-window.ts'
import type { WindowReader } from '../../../../shared/io/window-reader.ts'
import { NBD_MAX_BUFFER_SIZE } from '../../../../shared/protocol/limits.ts'
import { NBD_MODE_EXTENDED, NBD_MODE_SIMPLE, type NBDMode } from '../../../../shared/protocol/nbd-mode.ts'
import {
  NBD_CMD_DISC,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_READ,
  NBD_CMD_WRITE
} from '../../../helpers/raw-constants.ts'
import { extendedRequest, request } from '../../../helpers/raw-wire.ts'

const REQUEST_SIZE = 28
const read = request({ type: NBD_CMD_READ, length: 512 })
const reads = (count: number): Buffer[] => Array.from({ length: count }, () => read)
const write = request({ type: NBD_CMD_WRITE, payload: Buffer.alloc(1000) })
const disconnect = request({ type: NBD_CMD_DISC })

interface Situation {
  /** What each request costs. */
  costMs?: number
  /** Other threads take part. */
  shared?: boolean
  /** Who would get the turn. */
  waiter?: CoMutexShared['waiter']
  mode?: NBDMode
}

/** A thread that has the turn to receive, with the rest of its connection as doubles. */
class Bed {
  readonly turns: Turns
  passed = 0
  helpWanted = 0
  waiter: CoMutexShared['waiter']
  readonly #window = new ReceiveWindow()
  readonly #readAhead = new ReadAhead(ReadAhead.allocate())

  constructor({ costMs = 0.2, shared = true, waiter = 'idle', mode = NBD_MODE_SIMPLE }: Situation = {}) {
    this.waiter = waiter
    const current = (): CoMutexShared['waiter'] => this.waiter
    const receiveLock = {
      get waiter() {
        return current()
      },
      *lock() {},
      unlock: () => void this.passed++
    }
    const state = {
      receiveLock,
      depth: 0,
      working: 0,
      askForHelp: () => this.helpWanted === 0,
      beginWork: () => undefined,
      setReceiver: () => false
    }
    const reader = {
      window: this.#window,
      channel: { takeReceived: () => Buffer.alloc(0) },
      takeUnread: () => Buffer.alloc(0)
    }
    const wanted = (): void => void this.helpWanted++
    this.turns = new Turns(
      state as unknown as ConnectionState,
      reader as unknown as WindowReader,
      requestForm(mode),
      wanted
    )
    if (shared) void Coroutine.start(() => this.turns.begin({ readAhead: this.#readAhead }))
    for (let i = 0; i < 20; i++) this.turns.measure(costMs, 1)
  }

  /** Receives, and looks at the first request. @returns bytes that it keeps, that one included, and bytes passed on */
  receive(...requests: Buffer[]): { kept: number; passed: Buffer } {
    const window = this.#window
    const bytes = Buffer.concat(requests)
    window.clear()
    bytes.copy(window.memory.buffer, window.start)
    window.end = window.start + bytes.length
    this.turns.passOn(window.start + requests[0]!.length)
    return { kept: window.length, passed: this.#readAhead.take() }
  }
}

void t.test('a share is half of what is there', async (t) => {
  for (const [there, kept] of [
    [2, 1],
    [3, 2],
    [16, 8]
  ] as const) {
    const bed = new Bed({ costMs: 0.35 / kept })
    const { passed } = bed.receive(...reads(there))
    t.ok(passed.equals(Buffer.concat(reads(there - kept))), `${there - kept} of ${there} are passed on`)
    t.notOk(bed.turns.here)
    t.equal(bed.passed, 1)
  }
})

void t.test('a share ends with a request also where headers are extended', async (t) => {
  const read = extendedRequest({ type: NBD_CMD_READ, length: 512 })
  const write = extendedRequest({
    type: NBD_CMD_WRITE,
    flags: NBD_CMD_FLAG_PAYLOAD_LEN,
    payload: Buffer.alloc(1000)
  })
  const bed = new Bed({ mode: NBD_MODE_EXTENDED })
  const { kept, passed } = bed.receive(read, write, read, write)
  t.equal(kept, read.length + write.length)
  t.ok(passed.equals(Buffer.concat([read, write])))
})

void t.test('a share is not more than a millisecond of work or so, and at least one request', async (t) => {
  t.equal(new Bed({ costMs: 0.28 }).receive(...reads(40)).kept, 4 * REQUEST_SIZE)
  t.equal(new Bed({ costMs: 1.1 }).receive(...reads(40)).kept, REQUEST_SIZE)
  t.equal(new Bed({ costMs: 50 }).receive(...reads(40)).kept, REQUEST_SIZE)
})

const whole: Record<string, { requests: Buffer[]; kept: number }> = {
  'writes with their payload': { requests: [write, write, write, write], kept: 2 * write.length },
  'up to a DISC, which ends the stream for who has the turn': {
    requests: [...reads(3), disconnect, ...reads(20)],
    kept: 2 * REQUEST_SIZE
  },
  'up to garbage': { requests: [...reads(3), Buffer.alloc(28 * 20, 0xee)], kept: 2 * REQUEST_SIZE },
  'up to half a header': { requests: [...reads(3), read.subarray(0, 27)], kept: 2 * REQUEST_SIZE },
  'up to half a payload': { requests: [...reads(3), write.subarray(0, -1)], kept: 2 * REQUEST_SIZE },
  'up to a payload beyond the limit': {
    requests: [
      ...reads(3),
      request({ type: NBD_CMD_WRITE, length: NBD_MAX_BUFFER_SIZE + 1 }),
      Buffer.alloc(1000)
    ],
    kept: 2 * REQUEST_SIZE
  }
}

for (const [what, { requests, kept }] of Object.entries(whole)) {
  void t.test(`a share is whole requests - ${what}`, async (t) => {
    const bed = new Bed({ costMs: 0.3 })
    const all = Buffer.concat(requests)
    const result = bed.receive(...requests)
    t.equal(result.kept, kept)
    t.ok(result.passed.equals(all.subarray(kept)), 'the rest is passed on as it is')
  })
}

const keeps: Record<string, Situation & { requests: Buffer[] }> = {
  'cheap requests': { costMs: 0.001, requests: reads(1000) },
  'a share that nobody is worth waking for': { costMs: 0.1, requests: reads(4) },
  'a share that is not worth leaving it': { waiter: 'none', costMs: 0.03, requests: reads(6) },
  'when who would get it is busy': { waiter: 'busy', requests: reads(16) }
}

for (const [what, { requests, ...situation }] of Object.entries(keeps)) {
  void t.test(`the turn stays - ${what}`, async (t) => {
    const bed = new Bed(situation)
    t.equal(bed.receive(...requests).kept, Buffer.concat(requests).length)
    t.ok(bed.turns.here)
    t.equal(bed.passed, 0)
  })
}

void t.test('the turn stays - one slow request makes no connection heavy', async (t) => {
  const bed = new Bed({ costMs: 0.001 })
  bed.turns.measure(100, 1)
  bed.turns.measure(0.001, 1)
  bed.receive(...reads(16))
  t.ok(bed.turns.here)
})

void t.test('the turn stays - a client that sends one request at a time, however heavy', async (t) => {
  const bed = new Bed({ costMs: 10 })
  for (let i = 0; i < 100; i++) bed.receive(read)
  t.equal(bed.passed, 0)
})

void t.test('a lone request passes the turn on when the client has just sent several', async (t) => {
  const bed = new Bed({ costMs: 10 })
  bed.waiter = 'busy'
  bed.receive(...reads(2))
  bed.waiter = 'idle'
  t.equal(bed.receive(read).kept, REQUEST_SIZE)
  t.equal(bed.passed, 1)
})

void t.test('a small share passes the turn on when nobody has to be woken', async (t) => {
  const bed = new Bed({ waiter: 'none', costMs: 0.11 })
  t.equal(bed.receive(...reads(2)).kept, REQUEST_SIZE)
  t.equal(bed.passed, 1)
})

void t.test('help is asked for once, and not for cheap requests', async (t) => {
  const cheap = new Bed({ shared: false, costMs: 0.001 })
  cheap.receive(...reads(100))
  t.equal(cheap.helpWanted, 0)
  const heavy = new Bed({ shared: false })
  heavy.receive(...reads(100))
  heavy.receive(...reads(100))
  t.equal(heavy.helpWanted, 1)
  t.ok(heavy.turns.here)
})
