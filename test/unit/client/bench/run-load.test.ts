import t from 'tap'
import type { LoadShape } from '../../../../client/bench/load.ts'
import { runLoad, type LoadTarget, type RunOptions } from '../../../../client/bench/run-load.ts'

const BLOCK = 512
const shape: LoadShape = { kind: 'read', mix: 50, blockSize: BLOCK, offset: 0, length: 64 * BLOCK, seed: 1 }

/** A disk that answers in the next turn of the loop, and remembers what it was asked. */
class Target implements LoadTarget {
  calls: string[] = []
  inFlight = 0
  mostInFlight = 0
  /** Fails from this call on. */
  failsAt = Infinity

  async read(offset: number, into: Buffer): Promise<Buffer> {
    await this.#call(`read ${offset} ${into.length}`)
    return into
  }

  async write(offset: number, data: Buffer): Promise<void> {
    await this.#call(`write ${offset} ${data.length}`)
  }

  async flush(): Promise<void> {
    await this.#call('flush')
  }

  async #call(what: string): Promise<void> {
    this.calls.push(what)
    const number = this.calls.length
    this.inFlight++
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight)
    await new Promise((resolve) => setImmediate(resolve))
    this.inFlight--
    if (number >= this.failsAt) throw new Error(`call ${number} failed`)
  }
}

const options = (changes: Partial<RunOptions>): RunOptions => ({
  shape,
  depth: 1,
  runtimeMs: undefined,
  requests: undefined,
  warmupMs: 0,
  flushEvery: 0,
  signal: new AbortController().signal,
  ...changes
})

void t.test('run - as many requests as were asked for, so many at once on each disk', async (t) => {
  const disks = [new Target(), new Target()]
  const result = await runLoad(disks, options({ depth: 4, requests: 100 }))
  const calls = disks.flatMap(({ calls }) => calls)
  t.equal(calls.length, 100)
  t.same(new Set(calls).size, 64, 'the disks share the blocks, and then it begins anew')
  t.same(
    disks.map(({ mostInFlight }) => mostInFlight),
    [4, 4]
  )
  t.same(
    disks.map(({ inFlight }) => inFlight),
    [0, 0]
  )
  t.equal(result.reads.latencies.count, 100)
  t.equal(result.reads.bytes, 100 * BLOCK)
  t.equal(result.writes.latencies.count, 0)
  t.notOk(result.interrupted)
  t.ok(result.seconds > 0)
})

void t.test('run - until the time is over', async (t) => {
  const disk = new Target()
  const result = await runLoad([disk], options({ runtimeMs: 30, depth: 2 }))
  t.ok(result.seconds >= 0.029, `${result.seconds} s`)
  t.equal(result.reads.latencies.count, disk.calls.length)
})

void t.test('run - what happens while it warms up is not counted', async (t) => {
  const disk = new Target()
  const result = await runLoad([disk], options({ warmupMs: 20, requests: 10 }))
  t.ok(disk.calls.length > 10, `${disk.calls.length} calls`)
  t.ok(result.reads.latencies.count <= 10)
  t.ok(result.reads.latencies.count >= 9, 'but for the one that was in flight')
})

void t.test('run - writes, and a flush after each so many of them', async (t) => {
  const disk = new Target()
  const writing: LoadShape = { ...shape, kind: 'write' }
  const result = await runLoad([disk], options({ shape: writing, requests: 9, flushEvery: 3 }))
  t.same(
    disk.calls.map((call) => call.split(' ')[0]),
    [
      ...['write', 'write', 'write', 'flush'],
      ...['write', 'write', 'write', 'flush'],
      ...['write', 'write', 'write', 'flush']
    ]
  )
  t.same([result.writes.latencies.count, result.flushes.latencies.count], [9, 3])
  t.equal(result.writes.bytes, 9 * BLOCK)
})

void t.test('run - a failure ends it, when all that is in flight has ended', async (t) => {
  const disks = [new Target(), new Target()]
  disks[1]!.failsAt = 20
  await t.rejects(runLoad(disks, options({ depth: 8 })), { message: 'call 20 failed' })
  t.same(
    disks.map(({ inFlight }) => inFlight),
    [0, 0]
  )
})

void t.test('run - a signal ends it early, with what there is', async (t) => {
  const controller = new AbortController()
  const disk = new Target()
  const running = runLoad([disk], options({ signal: controller.signal }))
  while (disk.calls.length < 50) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  const result = await running
  t.ok(result.interrupted)
  t.equal(result.reads.latencies.count, disk.calls.length)
})

void t.test('run - a signal while it warms up: nothing was measured', async (t) => {
  const controller = new AbortController()
  const disk = new Target()
  const running = runLoad([disk], options({ signal: controller.signal, warmupMs: 3_600_000 }))
  while (disk.calls.length < 5) await new Promise((resolve) => setImmediate(resolve))
  controller.abort()
  const result = await running
  t.same([result.interrupted, result.seconds, result.reads.latencies.count], [true, 0, 0])
})

void t.test('run - a signal that was given before', async (t) => {
  const disk = new Target()
  const result = await runLoad([disk], options({ signal: AbortSignal.abort() }))
  t.same([result.interrupted, disk.calls.length], [true, 0])
})
