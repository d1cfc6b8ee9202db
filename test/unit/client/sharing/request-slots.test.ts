import t from 'tap'
import { NBD_MAX_SHARED_REQUESTS } from '../../../../client/sharing/limits.ts'
import { NO_PART, ORPHANED, RequestSlots, SLOTS_WORDS } from '../../../../client/sharing/request-slots.ts'

const command = { type: 1, flags: 3, offset: 2 ** 52 + 512, length: 2 ** 40 + 2 ** 31 }

function slots(): [RequestSlots, RequestSlots] {
  const words = new Int32Array(new SharedArrayBuffer(4 * SLOTS_WORDS))
  return [new RequestSlots(words, 0, 0), new RequestSlots(words, 0, 7)]
}

void t.test('RequestSlots - cookies tell whose request it is', async (t) => {
  const [one, other] = slots()
  const cookie = one.take(command)!
  t.ok(Number.isSafeInteger(cookie))
  t.equal(one.ownerOf(cookie), 0)
  t.equal(other.ownerOf(cookie), 0)
  t.equal(one.ownerOf(other.take(command)!), 7)
  t.equal(one.count, 2)
})

void t.test('RequestSlots - a cookie is used once', async (t) => {
  const [one, other] = slots()
  const seen = new Set<number>()
  for (let i = 0; i < 3 * NBD_MAX_SHARED_REQUESTS; i++) {
    const cookie = one.take(command)!
    t.notOk(seen.has(cookie))
    seen.add(cookie)
    one.free(cookie)
    if (one.ownerOf(cookie) !== NO_PART) t.fail('an old cookie is known')
  }
  t.equal(other.ownerOf(12345 * 2 ** 32 + 3), NO_PART)
  t.equal(other.ownerOf(2 ** 32 - 1), NO_PART)
})

void t.test('RequestSlots - no more than there are', async (t) => {
  const [one, other] = slots()
  const cookies = Array.from({ length: NBD_MAX_SHARED_REQUESTS }, (_, i) =>
    (i % 2 === 0 ? one : other).take(command)
  )
  t.notOk(cookies.includes(undefined))
  t.equal(new Set(cookies).size, NBD_MAX_SHARED_REQUESTS)
  t.equal(one.take(command), undefined)
  t.equal(other.take(command), undefined)
  t.equal(one.count, NBD_MAX_SHARED_REQUESTS)
  other.free(cookies[100]!)
  t.not(one.take(command), undefined)
  t.equal(one.take(command), undefined)
})

void t.test('RequestSlots - a request whose owner has gone can be taken over', async (t) => {
  const [one, other] = slots()
  const [gone, kept] = [one.take(command)!, other.take(command)!]
  other.orphan(0)
  t.equal(other.ownerOf(gone), ORPHANED)
  t.equal(other.ownerOf(kept), 7)
  t.same(other.adopt(gone), command)
  t.equal(other.ownerOf(gone), 7)
  other.free(gone)
  t.equal(other.ownerOf(gone), NO_PART)
  t.equal(other.count, 1)
})
