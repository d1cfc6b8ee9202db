import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { waitsByThread } from '../helpers/proc.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ } from '../helpers/raw-constants.ts'

const REQUESTS = 300

for (const iothreads of [1, 3]) {
  void t.test(`--iothreads ${iothreads} - three connections are served by ${iothreads}`, async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M', '--iothreads', String(iothreads)])
    const clients: RawClient[] = []
    for (let i = 0; i < 3; i++) clients.push(await RawClient.transmit(t, server))

    // A thread that serves requests one by one waits for each of them.
    const before = waitsByThread(server.process.pid)
    for (const client of clients) {
      for (let i = 0; i < REQUESTS; i++) await client.call({ type: NBD_CMD_READ, length: 512 })
    }
    const after = waitsByThread(server.process.pid)
    const busy = [...after].filter(([tid, waits]) => waits - (before.get(tid) ?? 0) > REQUESTS / 2)
    t.equal(busy.length, iothreads, 'that many threads were at work')
    t.notOk(
      busy.some(([tid]) => tid === server.process.pid),
      'and the main thread was not'
    )
  })
}
