/** Starting a server, and knowing when it serves. */
import * as fs from 'node:fs'
import * as net from 'node:net'
import * as path from 'node:path'
import { canConnect } from '../../helpers/can-connect.ts'
import { Launched } from '../../helpers/launched.ts'
import type { Scope } from '../../helpers/scope.ts'
import { waitFor } from '../../helpers/wait-for.ts'
import { HOST, type Contender, type Site } from './contenders.ts'
import type { Peers } from './peers.ts'
import { processTree } from './process-cost.ts'

export interface RunningServer {
  pid: number
  /** Without what a client needs for TLS. */
  uri: string
  /** Where that is; undefined without TLS. */
  home: string | undefined
}

/**
 * Starts a server, which ends with `scope`.
 *
 * @param ours what to serve, as we and the load generators see it
 * @param theirs the same, as peers see it
 * @throws Error with what it printed, when it does not serve
 */
export async function startServer(
  scope: Scope,
  contender: Contender,
  peers: Peers,
  { ours, theirs }: { ours: Site; theirs: Site }
): Promise<RunningServer> {
  const { way, folder, home } = ours
  const isPeer = contender.program !== undefined
  const socketName = `${contender.name}-${way.name}.sock`
  const port = way.transport === 'tcp' ? await freePort() : 0
  const site = isPeer ? theirs : ours
  const socket = path.join(folder, socketName)
  const address = { socket: path.join(site.folder, socketName), port }
  const { program, args, exportName = '', tells, config, pidFile } = contender.command(site, address)
  if (config) fs.writeFileSync(path.join(folder, config.name), config.text)
  const command = isPeer ? peers.command(program, args) : [program, ...args]
  const server = new Launched(scope, command[0]!, command.slice(1))
  const finish = (pid: number, uri: string): RunningServer => ({ pid, uri, home: way.tls ? home : undefined })
  if (tells)
    return finish(server.pid, (await server.output('stdout', /^mqnbd: serving .* at (nbd\S+)\n/m))[1]!)
  const pid = pidFile === undefined ? server.pid : await daemonPid(scope, server, path.join(folder, pidFile))
  await waitFor(`${contender.name} to listen`, () => {
    if (pid === server.pid && server.ended)
      throw new Error(`${contender.name} has ended: ${server.stderr.trim()}`)
    return canConnect(way.transport === 'unix' ? { path: socket } : { host: HOST, port })
  })
  if (way.transport === 'unix') return finish(pid, `nbd+unix:///${exportName}?socket=${socket}`)
  return finish(pid, `${way.tls ? 'nbds' : 'nbd'}://${HOST}:${port}/${exportName}`)
}

/** Of a server that goes into the background, which is ended with `scope`, too. */
async function daemonPid(scope: Scope, starter: Launched, pidFile: string): Promise<number> {
  const pid = await waitFor('a daemon to write its process id', () => {
    if (starter.ended && starter.child.exitCode !== 0)
      throw new Error(`it has ended: ${starter.stderr.trim()}`)
    return fs.existsSync(pidFile) ? Number(fs.readFileSync(pidFile, 'utf8')) || undefined : undefined
  })
  scope.teardown(() => {
    for (const id of processTree(pid)) end(id)
    fs.rmSync(pidFile, { force: true })
  })
  return pid
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    // It may have ended with another.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** For servers that cannot choose one and tell. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, HOST)
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject))
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
