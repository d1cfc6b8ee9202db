import { performance } from 'node:perf_hooks'
import t from 'tap'
import type { NBDExport } from '../../../../server/export/nbd-export.ts'
import { ConnectionState } from '../../../../server/transmission/connection-state.ts'
import { RequestBatch } from '../../../../server/transmission/request-batch.ts'
import { ReplyWriter } from '../../../../server/transmission/reply-writer.ts'
import { RequestsInFlight } from '../../../../server/transmission/requests-in-flight.ts'
import type { Transmission } from '../../../../server/transmission/transmission.ts'
import type { Turns } from '../../../../server/transmission/turns.ts'
import { QIOChannelNull } from '../../../../shared/io/channel-null.ts'
import { WindowReader } from '../../../../shared/io/window-reader.ts'
import { NBD_MODE_SIMPLE } from '../../../../shared/protocol/nbd-mode.ts'
import { NBD_CMD_READ } from '../../../helpers/raw-constants.ts'
import { request } from '../../../helpers/raw-wire.ts'

const SIZE = 1024 * 1024
const read = request({ type: NBD_CMD_READ, length: 512 })

/** Time passes only where the test says so. */
let clock = 0
t.intercept(performance, 'now', { value: () => clock })

/** @param readMs what each read takes @returns how many of the reads that are there one batch takes, and what is left */
function taken(
  there: number,
  { heavy, readMs = 0 }: { heavy: boolean; readMs?: number }
): { requests: number; left: number } {
  const channel = new QIOChannelNull()
  const reader = new WindowReader(channel)
  const state = new ConnectionState(ConnectionState.allocate(SIZE))
  const preadNowait = (): boolean => {
    clock += readMs
    return true
  }
  const exp = { size: SIZE, readOnly: false, node: { map: () => false, preadNowait } }
  const transmission: Transmission = {
    exp: exp as unknown as NBDExport,
    mode: NBD_MODE_SIMPLE,
    contexts: [],
    writer: new ReplyWriter(channel, (error) => t.error(error)),
    isBroken: () => false
  }
  const turns = { heavy, measure: () => undefined, passOn: () => undefined }
  const batch = new RequestBatch({
    transmission,
    served: { size: SIZE, readOnly: false, mode: NBD_MODE_SIMPLE, blockStatus: false },
    state,
    reader,
    turns: turns as unknown as Turns,
    inFlight: new RequestsInFlight(transmission, state),
    mayShare: true,
    goesOn: () => true
  })
  const bytes = Buffer.concat(Array.from({ length: there }, () => read))
  const { window } = reader
  window.clear()
  bytes.copy(window.memory.buffer, window.start)
  window.end = window.start + bytes.length
  batch.take()
  const left = (window.length + reader.takeUnread().length) / read.length
  window.clear()
  return { requests: batch.requests, left }
}

void t.test('RequestBatch - takes all that is there', async (t) => {
  t.same(taken(100, { heavy: false }), { requests: 100, left: 0 })
})

void t.test('RequestBatch - ends when it has kept the thread for some milliseconds', async (t) => {
  const { requests, left } = taken(100, { heavy: false, readMs: 0.5 })
  t.ok(requests < 20, `${requests} of 100`)
  t.equal(left, 100 - requests)
})

void t.test('RequestBatch - heavy requests go together while more of them are there', async (t) => {
  t.same(taken(6, { heavy: true }), { requests: 5, left: 1 }, 'the last one keeps no reply waiting')
  t.same(taken(2, { heavy: true }), { requests: 1, left: 1 })
  t.same(taken(1, { heavy: true }), { requests: 1, left: 0 })
})

void t.test('RequestBatch - heavy requests go together for some milliseconds at the most', async (t) => {
  t.same(taken(100, { heavy: true, readMs: 3 }), { requests: 1, left: 99 })
})
