import t from 'tap'
import { countTogether } from '../helpers/co-multithread.ts'

void t.test('five IOThreads count under one CoMutex for ten seconds', (t) =>
  countTogether(t, 'countUnderMutex', 5, 10_000)
)
