import t from 'tap'
import {
  benchPlan,
  benchRange,
  loadShape,
  type BenchArguments
} from '../../../../client/cli/bench-options.ts'

const given: Partial<BenchArguments> = {
  rw: 'randread',
  mix: '70',
  blockSize: '4K',
  depth: '16',
  connections: '1',
  warmup: '0',
  offset: '0',
  flushEvery: '0',
  seed: '1'
}

const args = (changes: Partial<BenchArguments>): BenchArguments =>
  ({ ...given, ...changes }) as BenchArguments

const disk = {
  size: 1024 * 1024,
  blockSizes: { minimum: 512, preferred: 4096, maximum: 1024 * 1024 },
  readOnly: true
}

const shape = (changes: Partial<BenchArguments>): ReturnType<typeof loadShape> =>
  loadShape(benchRange(args(changes)), disk)

void t.test('bench options - ten seconds, unless something else was asked for', async (t) => {
  t.match(benchPlan(args({})), { runtimeMs: 10_000, requests: undefined })
  t.match(benchPlan(args({ requests: '5' })), { runtimeMs: undefined, requests: 5 })
  t.match(benchPlan(args({ requests: '5', runtime: '0.5' })), { runtimeMs: 500, requests: 5 })
})

void t.test('bench options - values that cannot be', async (t) => {
  const wrong: [Partial<BenchArguments>, RegExp][] = [
    [{ depth: '0' }, /--depth/],
    [{ depth: '1025' }, /--depth/],
    [{ connections: '1000' }, /--connections/],
    [{ runtime: '0' }, /--runtime/],
    [{ runtime: '-1' }, /--runtime/],
    [{ runtime: '1e9' }, /--runtime/],
    [{ warmup: '604801' }, /--warmup/],
    [{ requests: 'many' }, /--requests/],
    [{ requests: '0' }, /--requests/],
    [{ flushEvery: '-1' }, /--flush-every/],
    [{ svg: '' }, /--svg/]
  ]
  for (const [changes, message] of wrong) {
    t.throws(() => benchPlan(args(changes)), { kind: 'config', message }, JSON.stringify(changes))
  }
})

void t.test('bench options - the range is the export, or a part of it', async (t) => {
  t.match(shape({}), { offset: 0, length: 1024 * 1024, blockSize: 4096 })
  t.match(shape({ offset: '512K' }), { offset: 512 * 1024, length: 512 * 1024 })
  t.match(shape({ offset: '512', size: '4K' }), { offset: 512, length: 4096 })
})

void t.test(
  'bench options - a range that the export does not have, or that cannot be asked for',
  async (t) => {
    const wrong: [Partial<BenchArguments>, RegExp][] = [
      [{ blockSize: '2M' }, /--block-size.*512 up to 1048576/],
      [{ blockSize: '0' }, /--block-size/],
      [{ blockSize: '1000' }, /--block-size/],
      [{ blockSize: 'x' }, /--block-size/],
      [{ offset: '100' }, /--offset.*512/],
      [{ offset: '2M' }, /ends at 1048576/],
      [{ offset: '512K', size: '1M' }, /ends at 1048576/],
      [{ offset: '1M' }, /not one block/],
      [{ size: '4095' }, /not one block/],
      [{ mix: '101' }, /--mix/],
      [{ seed: '4294967296' }, /--seed/],
      [{ rw: 'randrw' }, /read-only/]
    ]
    for (const [changes, message] of wrong) {
      t.throws(() => shape(changes), { kind: 'config', message }, JSON.stringify(changes))
    }
  }
)
