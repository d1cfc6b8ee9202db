import t, { type Test } from 'tap'
import { Coroutine } from '../../../../shared/coroutine/coroutine.ts'
import { newRequest } from '../../../../shared/protocol/messages/request.ts'
import { ExportGate } from '../../../../server/export/export-gate.ts'
import { inPieces } from '../../../../server/transmission/in-pieces.ts'
import type { Transmission } from '../../../../server/transmission/transmission.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

interface Run {
  gate: ExportGate
  pieces: [offset: number, length: number][]
  /** Ends the piece that is being carried out. */
  next: () => void
  done: Promise<void>
  break: () => void
}

/** As a request in flight: inside the gate until it has ended. */
function run(t: Test, offset: number, length: number, most: number, held = false): Run {
  const gate = new ExportGate(ExportGate.allocate())
  const pieces: Run['pieces'] = []
  let broken = false
  let next = (): void => undefined
  const transmission = { exp: { gate }, isBroken: () => broken } as unknown as Transmission
  t.ok(gate.tryEnter())
  const done = Coroutine.start(() =>
    inPieces(transmission, { ...newRequest(), offset, length }, most, (offset, length) => {
      pieces.push([offset, length])
      return held ? new Promise((resolve) => (next = resolve)) : Promise.resolve()
    })
  ).finally(() => gate.leave())
  return { gate, pieces, next: () => next(), done, break: () => (broken = true) }
}

void t.test('inPieces - covers the range once, in pieces that end at multiples', async (t) => {
  for (const [offset, length, expected] of [
    [0, 0, []],
    [0, 1, [[0, 1]]],
    [0, 8, [[0, 8]]],
    [
      7,
      2,
      [
        [7, 1],
        [8, 1]
      ]
    ],
    [
      3,
      20,
      [
        [3, 5],
        [8, 8],
        [16, 7]
      ]
    ],
    [
      16,
      16,
      [
        [16, 8],
        [24, 8]
      ]
    ],
    [
      2 ** 53 - 9,
      8,
      [
        [2 ** 53 - 9, 1],
        [2 ** 53 - 8, 7]
      ]
    ]
  ] as const) {
    const { pieces, done } = run(t, offset, length, 8)
    await done
    t.strictSame(pieces, expected, `${length} at ${offset}`)
  }
})

void t.test('inPieces - a drain gets in between two pieces', async (t) => {
  const { gate, pieces, next, done } = run(t, 0, 24, 8, true)
  let drained = false
  const closing = gate.close().then(() => (drained = true))
  t.equal(pieces.length, 1)
  t.equal(drained, false, 'not in the middle of one')
  next()
  await closing
  t.equal(pieces.length, 1, 'and no other begins')
  gate.open()
  for (const count of [2, 3]) {
    await waitFor(`piece ${count}`, () => pieces.length === count)
    next()
  }
  await done
  t.strictSame(pieces, [
    [0, 8],
    [8, 8],
    [16, 8]
  ])
})

void t.test('inPieces - ends where the connection is broken', async (t) => {
  const broken = run(t, 0, 24, 8, true)
  broken.break()
  broken.next()
  t.match(await broken.done.catch((error: unknown) => error), { kind: 'request' })
  t.equal(broken.pieces.length, 1)
})
