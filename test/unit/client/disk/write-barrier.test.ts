import t from 'tap'
import { WriteBarrier } from '../../../../client/disk/write-barrier.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

void t.test('WriteBarrier - is passed when all earlier writes have ended, well or not', async (t) => {
  const barrier = new WriteBarrier()
  t.equal(barrier.passed(), undefined)
  const ends: ((error?: Error) => void)[] = []
  const write = (): Promise<void> =>
    barrier.during(
      () => new Promise<void>((resolve, reject) => ends.push((error) => (error ? reject(error) : resolve())))
    )
  const passed: string[] = []
  const flush = (name: string): void => void barrier.passed()!.then(() => passed.push(name))
  const first = write()
  const second = write()
  flush('one')
  const third = write()
  flush('two')
  flush('three')
  const later = write()

  ends[2]!()
  await third
  await turn()
  t.strictSame(passed, [], 'a flush also waits for what was before an earlier flush')
  ends[0]!()
  await first
  await turn()
  t.strictSame(passed, [])
  ends[1]!(new Error('failed'))
  await t.rejects(second, { message: 'failed' })
  await turn()
  t.strictSame(passed, ['one', 'two', 'three'], 'and not for what is later')
  ends[3]!()
  await later
  t.equal(barrier.passed(), undefined)
})
