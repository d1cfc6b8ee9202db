import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as net from 'node:net'
import { constants } from 'node:os'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect, type NBDDisk } from '../../client/index.ts'
import { NBDServer, QIOChannelPair } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { openFile, writeFromFile } from '../helpers/file-writes.ts'
import { MiB } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { requires } from '../helpers/requires.ts'
import { TestCA } from '../helpers/tls-certs.ts'
import { serveTls } from '../helpers/tls-server.ts'
import { websocketGateway } from '../helpers/websocket-gateway.ts'
import { failureOf } from '../unit/client/helpers/failures.ts'

const { EIO } = constants.errno
const CLOSE_MS = 5000

interface Way {
  needs?: string[]
  connect: (t: Test) => Promise<NBDDisk>
}

const serve = (t: Test): Promise<Mqnbd> => Mqnbd.serve(t, ['memory:8M'])

/** Where a file's bytes cannot go to the server without being read. */
const ways: Record<string, Way> = {
  TLS: {
    needs: ['certtool'],
    connect: async (t) => {
      const { server, ca } = await serveTls(t)
      return connect(server.uri, { tls: { certificates: ca.folder } })
    }
  },
  'a WebSocket': {
    connect: async (t) => {
      const { socket } = await serve(t)
      return connect({ websocket: `ws://127.0.0.1:${await websocketGateway(t, socket!, '/')}` })
    }
  },
  'a WebSocket with TLS': {
    needs: ['certtool'],
    connect: async (t) => {
      const { socket } = await serve(t)
      const ca = TestCA.make(t).server()
      const [cert, key] = ['cert', 'key'].map((what) =>
        fs.readFileSync(path.join(ca.folder, `server-${what}.pem`))
      )
      const websocket = `wss://localhost:${await websocketGateway(t, socket!, '/', { cert: cert!, key: key! })}`
      return connect({ websocket }, { tls: { certificates: ca.folder } })
    }
  },
  'a stream': {
    connect: async (t) => {
      const stream = net.connect((await serve(t)).socket!)
      return connect({ stream })
    }
  },
  'an in-memory pair': {
    connect: async (t) => {
      const server = await NBDServer.start({ iothreads: 1 })
      t.teardown(() => server.close(CLOSE_MS))
      await server.addExport(await openImage({ image: 'memory:8M' }))
      const [channel, served] = QIOChannelPair.create()
      server.serveChannel(served)
      return connect({ channel })
    }
  }
}

for (const [name, { needs = [], connect }] of Object.entries(ways)) {
  void t.test(`client, writeFile - over ${name} the file is read`, requires(...needs), async (t) => {
    const disk = await connect(t)
    t.notOk(disk.sendsFiles)
    await writeFromFile(t, disk, 1)
    const bytes = crypto.randomBytes(1000)
    const { fd } = openFile(t, bytes)
    await disk.writeFile(7, 1000, { fd, position: 0 }, { fua: true })
    const failure = await failureOf(disk.writeFile(0, 1001, { fd, position: 0 }))
    t.match(failure, { kind: 'request', errno: EIO, message: /the file that is sent has become shorter/ })
    t.equal(disk.state, 'READY', 'that is no matter of the connection')
    t.ok((await disk.read(7, 1000)).equals(bytes))
    await disk.close()
  })
}

void t.test('client, writeFile - over a WebSocket, given up', async (t) => {
  const disk = await ways['a WebSocket']!.connect(t)
  const { fd } = openFile(t, crypto.randomBytes(4 * MiB))
  const controller = new AbortController()
  const { signal } = controller
  const writes = [0, 4 * MiB].map((offset) =>
    disk.writeFile(offset, 4 * MiB, { fd, position: 0 }, { signal })
  )
  controller.abort()
  for (const write of writes) await t.rejects(write, { name: 'AbortError' })
  t.equal((await disk.read(0, 512)).length, 512, 'the connection goes on')
  await disk.close()
})
