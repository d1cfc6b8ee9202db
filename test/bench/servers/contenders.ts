/** The servers: how each is told to serve the same image in the same way. */
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Way } from './cells.ts'

const MQNBD = fileURLToPath(new URL('../../../../bin/mqnbd.cjs', import.meta.url))
export const HOST = '127.0.0.1'

/** Where and what to serve. */
export interface Site {
  way: Way
  image: string
  /** Of a user whom libnbd has certificates of server and client for, for TLS. */
  home: string
  /** For sockets and configurations. */
  folder: string
  /** The compiled program of `limit-server.c`. */
  limit: string
}

/** Where libnbd looks for certificates. */
export const certificatesIn = (home: string): string => path.join(home, '.pki', 'libnbd')

/** A command, with what it is needed for. */
interface Command {
  program: string
  args: string[]
  /** Of the export; the empty one if not given. */
  exportName?: string
  /** It tells its URI itself. */
  tells?: boolean
  /** It reads this file of its folder. */
  config?: { name: string; text: string }
  /** It goes into the background, and writes its process id to this file of its folder. */
  pidFile?: string
}

/** Where a server is to listen. */
interface Address {
  socket: string
  port: number
}

export interface Contender {
  name: string
  kind: 'ours' | 'other' | 'limit'
  /** Of the peers', if it is one. */
  program?: string
  /** Whether it can serve so. */
  serves: (way: Way) => boolean
  command: (site: Site, address: Address) => Command
}

const everyWay = (): boolean => true

const ours = (iothreads: number, aio?: 'threads'): Contender => ({
  name: `mqnbd-${iothreads}${aio ? `-${aio}` : ''}`,
  kind: 'ours',
  // What is in the page cache nobody waits for.
  serves: aio ? ({ direct }) => direct : everyWay,
  command: ({ way, image, home }, { socket }) => {
    const ids = Array.from({ length: iothreads }, (_, i) => `io${i}`)
    const file = `file,node-name=disk,filename=${image},locking=off${aio ? `,aio=${aio}` : ''}`
    const bound = ids.map((id, i) => `iothread.${i}=${id}`).join(',')
    return {
      program: process.execPath,
      args: [
        ...[MQNBD, 'serve', '-t', ...ids.flatMap((id) => ['--object', `iothread,id=${id}`])],
        ...['--blockdev', way.direct ? `${file},cache.direct=on` : file],
        ...['--export', `nbd,id=disk,node-name=disk,name=,writable=on,${bound}`],
        ...(way.transport === 'unix' ? ['-k', socket] : ['-b', HOST, '-p', '0']),
        ...(way.tls ? ['--tls-creds', certificatesIn(home)] : [])
      ],
      tells: true
    }
  }
})

const qemuNbd = (aio: 'threads' | 'io_uring'): Contender => ({
  name: `qemu-nbd-${aio}`,
  kind: 'other',
  program: 'qemu-nbd',
  serves: everyWay,
  command: ({ way, image, home }, { socket, port }) => ({
    program: 'qemu-nbd',
    args: [
      ...['-t', '--shared=0', '--image-opts'],
      [
        ...[
          'driver=raw',
          'file.driver=file',
          `file.filename=${image}`,
          'file.locking=off',
          `file.aio=${aio}`
        ],
        ...(way.direct ? ['file.cache.direct=on'] : [])
      ].join(','),
      ...(way.transport === 'unix' ? ['-k', socket] : ['-b', HOST, '-p', String(port)]),
      ...(way.tls
        ? [
            '--object',
            `tls-creds-x509,id=tls0,endpoint=server,dir=${certificatesIn(home)}`,
            '--tls-creds',
            'tls0'
          ]
        : [])
    ]
  })
})

const nbdkit: Contender = {
  name: 'nbdkit',
  kind: 'other',
  program: 'nbdkit',
  serves: everyWay,
  command: ({ way, image, home }, { socket, port }) => ({
    program: 'nbdkit',
    args: [
      '-f',
      ...(way.transport === 'unix' ? ['-U', socket] : ['-i', HOST, '-p', String(port)]),
      ...(way.tls
        ? ['--tls=require', `--tls-certificates=${certificatesIn(home)}`, '--tls-verify-peer']
        : []),
      ...['file', image],
      // It has no O_DIRECT: this drops from the cache what was read or written.
      ...(way.direct ? ['cache=none'] : [])
    ]
  })
}

const nbdServer: Contender = {
  name: 'nbd-server',
  kind: 'other',
  program: 'nbd-server',
  serves: ({ direct }) => !direct,
  command: ({ way, image, home, folder }, { socket, port }) => {
    const file = (name: string): string => path.join(certificatesIn(home), `${name}.pem`)
    const lines = [
      '[generic]',
      ...(way.transport === 'unix' ? [`unixsock = ${socket}`] : [`listenaddr = ${HOST}`, `port = ${port}`]),
      ...(way.tls
        ? [
            ...[`certfile = ${file('server-cert')}`, `keyfile = ${file('server-key')}`],
            ...[`cacertfile = ${file('ca-cert')}`, 'force_tls = true', 'tlsprio = NORMAL:%SERVER_PRECEDENCE']
          ]
        : []),
      '[disk]',
      `exportname = ${image}`
    ]
    const config = 'nbd-server.conf'
    const pidFile = 'nbd-server.pid'
    return {
      program: 'nbd-server',
      // Kept in the foreground (-d) it would serve one client and end.
      args: ['-C', path.join(folder, config), '-p', path.join(folder, pidFile)],
      exportName: 'disk',
      config: { name: config, text: `${lines.join('\n')}\n` },
      pidFile
    }
  }
}

const limit: Contender = {
  name: 'limit',
  kind: 'limit',
  serves: ({ tls, direct }) => !tls && !direct,
  command: ({ way, image, limit }, { socket, port }) => ({
    program: limit,
    args: [image, way.transport === 'unix' ? socket : String(port)]
  })
}

export const CONTENDERS: Contender[] = [
  ours(1),
  ours(2),
  ours(1, 'threads'),
  ours(2, 'threads'),
  qemuNbd('threads'),
  qemuNbd('io_uring'),
  nbdkit,
  nbdServer,
  limit
]
