import t, { type Test } from 'tap'
import { IdleWatch } from '../../../../client/sharing/idle-watch.ts'
import type { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { Memory } from '../../../../shared/syscall/memory.ts'
import { recv, send, shutdownSocket } from '../../../../shared/syscall/socket.ts'
import { socketPair } from '../../../helpers/socket-pair.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

class Connection {
  readonly socket: number
  readonly peer: number
  readonly memory = Memory.allocate(16)
  looks = 0
  inFlight = 0

  constructor(t: Test) {
    ;[this.socket, this.peer] = socketPair()
    t.teardown(() => {
      closeFd(this.socket)
      closeFd(this.peer)
    })
  }

  get requests(): number {
    this.looks++
    return this.inFlight
  }

  /** So often it has looked, and once more. */
  async looksAgain(times: number): Promise<void> {
    const before = this.looks
    await waitFor('it to look again', () => this.looks >= before + times)
  }
}

void t.test('IdleWatch - the end of the stream', async (t) => {
  const connection = new Connection(t)
  const ends: NBDError[] = []
  const watch = new IdleWatch(connection, (error) => ends.push(error))
  t.teardown(() => watch.stop())
  await connection.looksAgain(1)
  t.strictSame(ends, [])
  shutdownSocket(connection.peer, 'both')
  await waitFor('the end', () => ends.length > 0)
  t.match(ends, [{ kind: 'transport', message: 'the server closed the connection' }])
})

void t.test('IdleWatch - bytes stay where they are, and it goes on behind them', async (t) => {
  const connection = new Connection(t)
  const { memory, socket, peer } = connection
  const ends: NBDError[] = []
  const watch = new IdleWatch(connection, (error) => ends.push(error))
  t.teardown(() => watch.stop())
  memory.buffer.write('somebody is here')
  t.equal(send(peer, memory.address, 16), 16)
  // Each time that it looks, there is something.
  await connection.looksAgain(3)
  memory.buffer.fill(0)
  t.equal(recv(socket, memory.address, 16), 16)
  t.equal(memory.buffer.toString('latin1', 0, 16), 'somebody is here')
  t.strictSame(ends, [])
  shutdownSocket(peer, 'both')
  await waitFor('the end', () => ends.length > 0)
})

void t.test('IdleWatch - while something is in flight, the end is for whoever receives', async (t) => {
  const connection = new Connection(t)
  connection.inFlight = 1
  const ends: NBDError[] = []
  const watch = new IdleWatch(connection, (error) => ends.push(error))
  t.teardown(() => watch.stop())
  shutdownSocket(connection.peer, 'both')
  await connection.looksAgain(3)
  t.strictSame(ends, [])
  connection.inFlight = 0
  await waitFor('the end', () => ends.length > 0)
})

void t.test('IdleWatch - a reset', async (t) => {
  const connection = new Connection(t)
  const { memory, socket, peer } = connection
  const ends: NBDError[] = []
  const watch = new IdleWatch(connection, (error) => ends.push(error))
  t.teardown(() => watch.stop())
  // A Unix socket that is closed with something unread in it.
  t.equal(send(socket, memory.address, 1), 1)
  shutdownSocket(peer, 'read')
  closeFd(peer)
  await waitFor('the end', () => ends.length > 0)
  t.match(ends, [{ kind: 'transport' }])
})
