import t from 'tap'
import { passWakeUps } from '../helpers/co-multithread.ts'

void t.test('five IOThreads pass wake-ups at random for ten seconds', (t) => passWakeUps(t, 5, 10_000))
