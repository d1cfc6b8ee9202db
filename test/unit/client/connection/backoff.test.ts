import t from 'tap'
import { Backoff } from '../../../../client/connection/backoff.ts'

void t.test(
  'Backoff - waits longer each time, up to 16 s, and anew after a connection that has lasted',
  async (t) => {
    const backoff = new Backoff()
    const waits = Array.from({ length: 11 }, () => backoff.next())
    t.strictSame(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 16_000, 16_000])
    backoff.lasted(15_999)
    t.equal(backoff.next(), 16_000, 'that was an attempt, too')
    backoff.lasted(16_001)
    t.equal(backoff.next(), 0)
    backoff.lasted(5)
    t.equal(backoff.next(), 100)
  }
)
