/** Connections whose bytes go another way than straight through a socket, to 8 MiB in memory. */
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import type { Test } from 'tap'
import { connect, type ConnectOptions, type NBDDisk } from '../../client/index.ts'
import { NBDServer, QIOChannelPair } from '../../server/index.ts'
import { openImage } from '../../shared/block/index.ts'
import { Mqnbd } from './mqnbd.ts'
import { TestCA } from './tls-certs.ts'
import { websocketGateway } from './websocket-gateway.ts'

const CLOSE_MS = 5000

export interface Way {
  needs: string[]
  connect: (t: Test, options?: ConnectOptions) => Promise<NBDDisk>
}

type WayName = 'TLS' | 'a WebSocket' | 'a WebSocket with TLS' | 'a stream' | 'an in-memory pair'

const serve = (t: Test): Promise<Mqnbd> => Mqnbd.serve(t, ['memory:8M'])

export const waysWithoutSockets: Record<WayName, Way> = {
  TLS: {
    needs: ['certtool'],
    connect: async (t, options) => {
      const ca = TestCA.make(t).server().client()
      const server = await Mqnbd.serve(t, ['memory:8M', '--tls-creds', ca.folder])
      return connect(server.uri, { ...options, tls: { certificates: ca.folder } })
    }
  },
  'a WebSocket': {
    needs: [],
    connect: async (t, options) => {
      const { socket } = await serve(t)
      return connect({ websocket: `ws://127.0.0.1:${await websocketGateway(t, socket!, '/')}` }, options)
    }
  },
  'a WebSocket with TLS': {
    needs: ['certtool'],
    connect: async (t, options) => {
      const { socket } = await serve(t)
      const ca = TestCA.make(t).server()
      const [cert, key] = ['cert', 'key'].map((what) =>
        fs.readFileSync(path.join(ca.folder, `server-${what}.pem`))
      )
      const port = await websocketGateway(t, socket!, '/', { cert: cert!, key: key! })
      const tls = { certificates: ca.folder }
      return connect({ websocket: `wss://localhost:${port}` }, { ...options, tls })
    }
  },
  'a stream': {
    needs: [],
    connect: async (t, options) => {
      const stream = net.connect((await serve(t)).socket!)
      return connect({ stream }, options)
    }
  },
  'an in-memory pair': {
    needs: [],
    connect: async (t, options) => {
      const server = await NBDServer.start({ iothreads: 1 })
      t.teardown(() => server.close(CLOSE_MS))
      await server.addExport(await openImage({ image: 'memory:8M' }))
      const [channel, served] = QIOChannelPair.create()
      server.serveChannel(served)
      return connect({ channel }, options)
    }
  }
}
