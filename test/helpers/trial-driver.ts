/**
 * A block driver for tests, on top of another node: keeps its thread busy with every request, holds requests back until
 * the test lets them go, and keeps a journal of what was written and flushed, in the order in which it was.
 *
 * All that the test needs to see lies in shared memory, whichever threads serve.
 */
import type { BlockNode, NodeHandle } from '../../shared/block/block-node.ts'
import { attachNode, registerDriver, type NodeOptions } from '../../shared/block/driver-registry.ts'
import '../../shared/block/drivers/index.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'

export interface TrialOptions extends NodeOptions {
  driver: 'test-trial'
  /** Open; the node's to close. */
  file: BlockNode
  /** How long a request keeps its thread busy, in ms. */
  busyMs: number
  /** Reads and writes that begin below this offset are held back while `TrialControl.held`. */
  heldBelow: number
}

interface TrialHandle extends NodeHandle {
  child: NodeHandle
  busyMs: number
  heldBelow: number
  memory: SharedArrayBuffer
}

const HELD = 0
const WAITING = 1
const FLUSHES = 2
const EVENTS = 3
const JOURNAL = 4
const MAX_EVENTS = 1 << 18

const WRITTEN = 1
const FLUSH_BEGINS = 2
const FLUSH_ENDS = 3

export interface TrialEvent {
  what: 'written' | 'flush begins' | 'flush ends'
  /** Offset of the write in units of 512 bytes, or number of the flush. */
  value: number
}

const names: Record<number, TrialEvent['what']> = {
  [WRITTEN]: 'written',
  [FLUSH_BEGINS]: 'flush begins',
  [FLUSH_ENDS]: 'flush ends'
}

/** The test's side, in whatever thread. */
export class TrialControl {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array

  constructor(memory = new SharedArrayBuffer(4 * (JOURNAL + 2 * MAX_EVENTS))) {
    this.memory = memory
    this.#words = new Int32Array(memory)
  }

  /** Requests below the line wait from now on; or all go on. */
  set held(held: boolean) {
    Atomics.store(this.#words, HELD, Number(held))
    if (!held) Atomics.notify(this.#words, HELD)
  }

  /** How many are held back just now. */
  get waiting(): number {
    return Atomics.load(this.#words, WAITING)
  }

  /** How many events there are in the journal. */
  get events(): number {
    return Atomics.load(this.#words, EVENTS)
  }

  /** What has happened, in order. */
  get journal(): TrialEvent[] {
    return Array.from({ length: this.events }, (_, i) => ({
      what: names[this.#words[JOURNAL + 2 * i]!]!,
      value: this.#words[JOURNAL + 2 * i + 1]!
    }))
  }

  async untilLetGo(): Promise<void> {
    Atomics.add(this.#words, WAITING, 1)
    while (Atomics.load(this.#words, HELD) === 1) await Atomics.waitAsync(this.#words, HELD, 1).value
    Atomics.sub(this.#words, WAITING, 1)
  }

  written(offset: number): void {
    this.#note(WRITTEN, offset / 512)
  }

  async flush(work: () => Promise<void>): Promise<void> {
    const number = Atomics.add(this.#words, FLUSHES, 1)
    this.#note(FLUSH_BEGINS, number)
    await work()
    this.#note(FLUSH_ENDS, number)
  }

  #note(what: number, value: number): void {
    const index = Atomics.add(this.#words, EVENTS, 1)
    if (index >= MAX_EVENTS) throw new Error('the journal is full')
    this.#words[JOURNAL + 2 * index] = what
    this.#words[JOURNAL + 2 * index + 1] = value
  }
}

const controls = new Map<BlockNode, TrialControl>()

/** Of a node that this thread has opened. */
export const controlOf = (node: BlockNode): TrialControl => controls.get(node)!

function trialNode(child: BlockNode, { busyMs, heldBelow, memory }: TrialHandle): BlockNode {
  const control = new TrialControl(memory)
  const work = (): void => {
    const end = performance.now() + busyMs
    while (performance.now() < end);
  }
  const held = (offset: number): boolean => offset < heldBelow
  const node: BlockNode = {
    driver: 'test-trial',
    length: child.length,
    readOnly: child.readOnly,
    limits: child.limits,
    map(offset, length, out) {
      if (held(offset) || !child.map(offset, length, out)) return false
      work()
      return true
    },
    preadNowait(address, offset, length) {
      if (held(offset) || !child.preadNowait(address, offset, length)) return false
      work()
      return true
    },
    async pread(target, at, offset, length) {
      work()
      if (held(offset)) await control.untilLetGo()
      await child.pread(target, at, offset, length)
    },
    pwriteNowait(address, offset, length) {
      if (held(offset) || !child.pwriteNowait(address, offset, length)) return false
      work()
      control.written(offset)
      return true
    },
    async pwrite(source, at, offset, length) {
      work()
      if (held(offset)) await control.untilLetGo()
      await child.pwrite(source, at, offset, length)
      control.written(offset)
    },
    pwriteZeroes: (offset, length, options) => child.pwriteZeroes(offset, length, options),
    pdiscard: (offset, length) => child.pdiscard(offset, length),
    flush: () => control.flush(() => child.flush()),
    prefetch: (offset, length) => child.prefetch(offset, length),
    blockStatus: (offset, length, most) => child.blockStatus(offset, length, most),
    handle: (): TrialHandle => ({
      driver: 'test-trial',
      child: child.handle(),
      busyMs,
      heldBelow,
      memory
    }),
    async close() {
      controls.delete(node)
      await child.close()
    }
  }
  controls.set(node, control)
  return node
}

/** Registers the driver in the thread that runs it. */
export const REGISTER_TRIAL: EntryPoint<undefined, void> = { module: import.meta.url, name: 'registerTrial' }
let registered = false
export function registerTrial(): void {
  if (registered) return
  registered = true
  registerDriver<TrialOptions, TrialHandle>({
    name: 'test-trial',
    open: async ({ file, busyMs, heldBelow }) => {
      const { memory } = new TrialControl()
      return trialNode(file, { driver: 'test-trial', child: file.handle(), busyMs, heldBelow, memory })
    },
    attach: (handle) => trialNode(attachNode(handle.child), handle)
  })
}
