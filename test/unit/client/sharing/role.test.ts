import t from 'tap'
import { PartTable, PARTS_WORDS } from '../../../../client/sharing/parts.ts'
import { Role } from '../../../../client/sharing/role.ts'
import { BottomHalf } from '../../../../shared/aio/bottom-half.ts'
import { startThreads } from '../../../helpers/iothreads.ts'
import { counted, PLAY, PLAYERS_WORDS } from '../../../helpers/role-players.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

const BIT = 1

interface Part {
  me: number
  role: Role
  woken: number
}

function table(): { words: Int32Array; parts: PartTable; join: (first?: boolean) => Part } {
  const words = new Int32Array(new SharedArrayBuffer(4 * PLAYERS_WORDS))
  const parts = new PartTable(words, 0)
  const join = (first = false): Part => {
    const part = { woken: 0 } as Part
    const bh = new BottomHalf(() => part.woken++)
    t.teardown(() => bh.delete())
    part.me = first ? parts.begin(bh.handle) : parts.join(bh.handle)!
    part.role = new Role(words, PARTS_WORDS, parts, part.me, BIT)
    return part
  }
  return { words, parts, join }
}

void t.test('Role - one has it, the next gets it', async (t) => {
  const { join } = table()
  const [one, two, three] = [join(true), join(), join()]
  t.ok(one.role.take())
  t.ok(one.role.take())
  t.notOk(two.role.take())
  t.notOk(three.role.take())
  one.role.release()
  t.notOk(one.role.isMine)
  t.ok(two.role.isMine)
  await waitFor('the next to be woken', () => two.woken === 1)
  two.role.release()
  t.ok(three.role.isMine)
  three.role.release()
  t.ok(one.role.take(), 'nobody wanted it')
})

void t.test('Role - a wish that was taken back', async (t) => {
  const { join } = table()
  const [one, two] = [join(true), join()]
  one.role.take()
  two.role.take()
  two.role.release()
  one.role.release()
  t.notOk(two.role.isMine)
  t.ok(one.role.take())
})

void t.test('Role - given to somebody in particular, and wanted back', async (t) => {
  const { parts, join } = table()
  const [one, two, three] = [join(true), join(), join()]
  one.role.take()
  two.role.take()
  t.ok(one.role.give(three.me))
  await waitFor('him to be woken', () => three.woken === 1)
  three.role.release()
  t.ok(one.role.isMine)
  parts.depart(two.me)
  t.notOk(one.role.give(two.me))
  t.ok(one.role.isMine)
})

void t.test('Role - who leaves is passed over', async (t) => {
  const { parts, join } = table()
  const [one, two, three] = [join(true), join(), join()]
  one.role.take()
  two.role.take()
  three.role.take()
  parts.depart(two.me)
  t.notOk(parts.leave(two.me))
  one.role.release()
  t.ok(three.role.isMine)
  parts.depart(one.me)
  parts.leave(one.me)
  parts.depart(three.me)
  t.ok(parts.leave(three.me), 'the last')
  t.equal(parts.join(0 as never), undefined)
})

void t.test('Role - between threads: one at a time, and everybody gets it', async (t) => {
  const { words, join, parts } = table()
  const rounds = 3000
  const threads = await startThreads(t, 3)
  join(true)
  await Promise.all(threads.map((thread) => thread.run(PLAY, { words, rounds })))
  t.equal(counted(words), threads.length * rounds)
  t.equal(parts.count, 1)
})

void t.test('PartTable - a part whose thread was ended by force is taken out', async (t) => {
  const { words, parts, join } = table()
  join(true)
  const [thread] = await startThreads(t, 1)
  // It never ends.
  void thread!.run(PLAY, { words, rounds: Infinity }).catch(() => undefined)
  await waitFor('it to take part', () => parts.count === 2)
  await thread!.stop()
  const dead: number[] = []
  await waitFor('it to be missed', () => {
    parts.reap((part) => dead.push(part))
    return parts.count === 1
  })
  t.same(dead, [1])
})
