/** Servers that are named by how to run them: `[ nbdkit memory 1G ]`. They live as long as the command. */
import { configError } from '../../shared/errors/nbd-error.ts'
import type { ActivatedCommand } from '../../shared/io/activated-command.ts'
import { formatUnixUri } from '../../shared/protocol/uri.ts'
import { serverCommand } from './command-line.ts'

/**
 * Runs the servers among some arguments, each by systemd's socket activation, and a command with their URIs instead.
 *
 * @param names of the arguments where one may be
 * @returns the command's exit status, when all servers have ended
 * @throws NBDError of kind `config` when there is none in the brackets, `transport` when one cannot be run; what the command
 *   throws
 */
export async function withServers<A extends Record<N, string | undefined>, N extends string>(
  args: A,
  names: readonly N[],
  command: (args: A) => Promise<number>
): Promise<number> {
  const servers: ActivatedCommand[] = []
  const uris: Record<string, string> = {}
  try {
    for (const name of names) {
      const argv = serverCommand(args[name] ?? '')
      if (!argv) continue
      const [program, ...rest] = argv
      if (program === undefined) throw configError('no server is named between [ and ]')
      const { ActivatedCommand } = await import('../../shared/io/activated-command.ts')
      const server = await ActivatedCommand.start([program, ...rest])
      servers.push(server)
      uris[name] = formatUnixUri(server.address.path, '')
    }
    return await command({ ...args, ...uris })
  } finally {
    await Promise.all(servers.map((server) => server.close()))
  }
}
