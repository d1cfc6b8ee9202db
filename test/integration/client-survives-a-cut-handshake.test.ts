import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { openSockets } from '../helpers/proc.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'
import { greeting, handshake, scriptedServer, SIZE } from '../unit/client/helpers/scripted-server.ts'

/** All bytes that a good server sends in the handshake. */
async function goodHandshake(t: Test): Promise<Buffer> {
  const sent: Buffer[] = []
  const { uri } = await scriptedServer(t, async (peer) => {
    peer.tamper = (bytes) => {
      sent.push(bytes)
      return bytes
    }
    await handshake(peer)
  })
  const disk = await connect(uri)
  t.strictSame([disk.size, disk.exportName, disk.description], [Number(SIZE), 'disk', 'a disk'])
  await disk.close()
  return Buffer.concat(sent)
}

void t.test('client - a connection that is cut at any byte of the handshake is an error', async (t) => {
  const { length } = await goodHandshake(t)
  t.ok(length > 200)
  const sockets = openSockets(process.pid)
  let limit = 0
  const { uri, peers } = await scriptedServer(t, async (peer) => {
    let left = limit
    peer.tamper = (bytes) => {
      const some = bytes.subarray(0, left)
      left -= some.length
      if (left === 0) peer.socket.end(some)
      return left === 0 ? Buffer.alloc(0) : some
    }
    await handshake(peer)
  })
  const kinds = new Map<string, number>()
  for (; limit < length; limit++) {
    const { kind, message } = await within(`an error at ${limit}`, failureOf(connect(uri)))
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    if (kind !== 'transport') t.fail(`${limit}: ${message}`)
  }
  t.strictSame([...kinds], [['transport', length]])
  await waitFor('both ends of all connections to be closed', () => {
    for (const peer of peers) peer.socket.destroy()
    return openSockets(process.pid) <= sockets + 1
  })
})

void t.test('client - a garbled byte in the handshake is an error, or was a fact', async (t) => {
  const good = await goodHandshake(t)
  let at = 0
  const { uri } = await scriptedServer(t, async (peer) => {
    let sent = 0
    const garbledAt = at
    peer.tamper = (bytes) => {
      const i = garbledAt - sent
      sent += bytes.length
      if (i < 0 || i >= bytes.length) return bytes
      const garbled = Buffer.from(bytes)
      garbled[i]! ^= 0xff
      return garbled
    }
    await handshake(peer)
  })
  let [opened, refused] = [0, 0]
  for (; at < good.length; at++) {
    // Some garbled lengths let both sides wait for each other.
    const outcome = await within(
      `an outcome at ${at}`,
      connect(uri, { handshakeTimeoutMs: 150 }).then(
        async (disk) => {
          await disk.close()
          return undefined
        },
        (error: unknown) => error
      )
    )
    if (outcome === undefined) opened++
    else {
      refused++
      t.equal((outcome as Error).name, 'NBDError', `byte ${at}: ${(outcome as Error).message}`)
    }
  }
  t.ok(refused > 100, `${refused} refused`)
  t.ok(opened < 80, `${opened} opened: sizes, flags, names`)
})

void t.test('client - a server that says nothing is given up', async (t) => {
  const silent = await scriptedServer(t, async (peer) => void (await peer.read(1)))
  const { kind, message } = await failureOf(connect(silent.uri, { handshakeTimeoutMs: 50 }))
  t.equal(kind, 'transport')
  t.match(message, /the handshake did not end within 50 ms/)

  const mute = await scriptedServer(t, async (peer) => {
    peer.send(greeting())
    await peer.read(1000)
  })
  t.match(
    (await failureOf(connect(mute.uri, { handshakeTimeoutMs: 50 }))).message,
    /the handshake did not end within 50 ms/
  )
  await waitFor('it to see the client go', () => mute.peers[0]!.socket.readableEnded)
})
