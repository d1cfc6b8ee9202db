import t from 'tap'
import { keepConnected } from '../../client/attach/keep-connected.ts'
import { leaveSocket } from '../../client/attach/negotiated-socket.ts'
import { parseUri } from '../../shared/protocol/uri.ts'
import { duplicateFd } from '../../shared/syscall/fd.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { openSockets } from '../helpers/proc.ts'
import { waitFor, within } from '../helpers/wait-for.ts'

const MiB = 1024 * 1024

/** A kernel that tells of lost connections, and keeps the new ones. */
class Kernel {
  attached = true
  dead = 0
  sockets: number[] = []
  /** How often it refuses a new connection. */
  refuses = 0

  isConnected(): boolean {
    return this.attached
  }

  deadLinks(): number {
    const dead = this.dead
    this.dead = 0
    return dead
  }

  reconnect(_index: number, sockets: readonly number[]): void {
    if (this.refuses-- > 0) throw new Error('not a time limit, but a fault')
    this.sockets.push(...sockets.map(duplicateFd))
  }
}

void t.test(
  'attach --persist - a lost connection is replaced, once, and a detached device ends it',
  async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1M'])
    const idle = openSockets(server.process.pid)
    const kernel = new Kernel()
    const kept = keepConnected(kernel, { index: 0, uri: parseUri(server.uri), size: MiB }, 5)
    kernel.dead = 2
    await waitFor('two new connections', () => kernel.sockets.length === 2)
    await waitFor('the server to have them', () => openSockets(server.process.pid) >= idle + 2)
    kernel.attached = false
    await within('the end', kept)
    t.equal(kernel.sockets.length, 2)
    await Promise.all(kernel.sockets.map(leaveSocket))
  }
)

void t.test('attach --persist - while there is no server it goes on trying', async (t) => {
  const kernel = new Kernel()
  const uri = parseUri('nbd+unix:///?socket=/nonexistent/s')
  let asked = 0
  const watched = {
    ...kernel,
    isConnected: () => ++asked < 4,
    deadLinks: () => (asked === 1 ? 1 : 0),
    reconnect: () => t.fail()
  }
  await within('the end', keepConnected(watched, { index: 0, uri, size: MiB }, 1))
  t.equal(asked, 4)
})

void t.test('attach --persist - a fault of ours is not tried again', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const kernel = new Kernel()
  kernel.dead = 1
  kernel.refuses = 1
  await t.rejects(keepConnected(kernel, { index: 0, uri: parseUri(server.uri), size: MiB }, 1), {
    message: /a fault/
  })
})

void t.test('attach --persist - a server with another disk is not what was lost', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:2M'])
  const kernel = new Kernel()
  let asked = 0
  const watched = {
    isConnected: () => ++asked < 4,
    deadLinks: () => (asked === 1 ? 1 : 0),
    reconnect: kernel.reconnect.bind(kernel)
  }
  await within('the end', keepConnected(watched, { index: 0, uri: parseUri(server.uri), size: MiB }, 1))
  t.same(kernel.sockets, [])
})
