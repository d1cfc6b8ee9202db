/** The program: its commands, and how they end. The only file that knows both server and client. */
import { createRequire } from 'node:module'
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { knownForms } from './client/cli/command-line.ts'
import { withServers } from './client/cli/servers.ts'
import { printable } from './shared/config/printable.ts'
import { NBDError } from './shared/errors/nbd-error.ts'
import { reason } from './shared/errors/system-error.ts'

const USAGE_ERROR = 2
const { version: VERSION } = createRequire(import.meta.url)('../package.json') as { version: string }

function fail(message: string, status: number): never {
  process.stderr.write(`mqnbd: ${message}\n`)
  process.exit(status)
}

/**
 * yargs composes the help text before it runs a command, to show it if that fails. We never do, and it takes half as long
 * as Node takes to start.
 */
function withoutHelpInAdvance(program: object): void {
  const own = program as { getInternalMethods(): { getUsageInstance(): { cacheHelpMessage(): void } } }
  own.getInternalMethods().getUsageInstance().cacheHelpMessage = () => undefined
}

/** What yargs, a check of ours or a command has against it. */
function refuse(message: string, error: Error | undefined): never {
  // What one of our checks returns comes as a string, whatever the types say.
  if (!error || typeof error === 'string' || error.name === 'YError')
    fail(`${printable(message.replace(/\s+/g, ' ').trim())} (try 'mqnbd --help')`, USAGE_ERROR)
  if (NBDError.is(error) && error.kind !== 'bug') fail(printable(error.message), 1)
  // A fault of ours: whoever reports it needs the stack.
  fail(error.stack ?? String(error), 1)
}

try {
  process.cwd()
} catch (error) {
  fail(`the working directory cannot be used: ${reason(error)}`, 1)
}

const program = yargs(knownForms(hideBin(process.argv)))
  .scriptName('mqnbd')
  // It would look for it where it was installed itself.
  .version(VERSION)
  // What yargs says shall be in the language of all else.
  .detectLocale(false)
  .usage('mqnbd COMMAND [options]\n\nA multi-queue NBD (Network Block Device) server, and clients.')
  // The options of a command are loaded when they are asked for, and its code when it runs.
  .command(
    'serve [image]',
    'Serve an image to NBD clients',
    async (yargs) => (await import('./server/cli/serve-options.ts')).buildServe(yargs),
    async (args) => {
      const { serve } = await import('./server/cli/serve.ts')
      // The server does not know the client, but serves what the client's driver opens.
      await import('./client/driver/index.ts')
      process.exit(await serve(args))
    }
  )
  .command(
    'info [target]',
    'Print what a server tells about an export',
    async (yargs) => (await import('./client/cli/info-options.ts')).buildInfo(yargs),
    async (args) =>
      process.exit(
        await withServers(args, ['target'], async (args) => (await import('./client/cli/info.ts')).info(args))
      )
  )
  .command(
    'list [target]',
    'Print the exports of a server',
    async (yargs) => (await import('./client/cli/list-options.ts')).buildList(yargs),
    async (args) =>
      process.exit(
        await withServers(args, ['target'], async (args) => (await import('./client/cli/list.ts')).list(args))
      )
  )
  .command(
    'map [target]',
    'Print where an export or a file has data',
    async (yargs) => (await import('./client/cli/map-options.ts')).buildMap(yargs),
    async (args) =>
      process.exit(
        await withServers(args, ['target'], async (args) => (await import('./client/cli/map.ts')).map(args))
      )
  )
  .command(
    'copy [source] [destination]',
    'Copy from and to NBD servers',
    async (yargs) => (await import('./client/cli/copy-options.ts')).buildCopy(yargs),
    async (args) =>
      process.exit(
        await withServers(args, ['source', 'destination'], async (args) =>
          (await import('./client/cli/copy.ts')).runCopy(args)
        )
      )
  )
  .command(
    'compare [file1] [file2]',
    'Tell whether two disks are the same',
    async (yargs) => (await import('./client/cli/compare-options.ts')).buildCompare(yargs),
    async (args) => process.exit(await (await import('./client/cli/compare.ts')).runCompare(args))
  )
  .command(
    'dump [uri]',
    'Print a disk as a hex dump',
    async (yargs) => (await import('./client/cli/dump-options.ts')).buildDump(yargs),
    async (args) =>
      process.exit(
        await withServers(args, ['uri'], async (args) => (await import('./client/cli/dump.ts')).runDump(args))
      )
  )
  .command(
    'bench [uri]',
    'Measure what an export can do',
    async (yargs) => (await import('./client/cli/bench-options.ts')).buildBench(yargs),
    async (args) =>
      process.exit(
        await withServers(args, ['uri'], async (args) => (await import('./client/cli/bench.ts')).bench(args))
      )
  )
  .command(
    'shell [URI]',
    'Use an export from JavaScript',
    async (yargs) => (await import('./client/cli/shell-options.ts')).buildShell(yargs),
    async (args) => process.exit(await (await import('./client/cli/shell.ts')).shell(args))
  )
  .command(
    'attach [device] [uri]',
    'Make an export a block device (Linux)',
    async (yargs) => (await import('./client/cli/attach-options.ts')).buildAttach(yargs),
    async (args) => process.exit(await (await import('./client/cli/attach.ts')).attach(args))
  )
  .command(
    'detach [device]',
    'End what attach has begun',
    async (yargs) => (await import('./client/cli/attach-options.ts')).buildDetach(yargs),
    async (args) => process.exit(await (await import('./client/cli/detach.ts')).detach(args))
  )
  .demandCommand(1, 'which COMMAND?')
  .strictCommands()
  .strict()
  .parserConfiguration({ 'duplicate-arguments-array': false })
  .wrap(Math.min(100, process.stdout.columns ?? 100))
  .help()
  .alias('help', 'h')
  .alias('version', 'V')
  .fail(refuse)

/** Ends the process, with the status of the command. */
async function run(): Promise<void> {
  withoutHelpInAdvance(program)
  try {
    await program.parseAsync()
  } catch (error) {
    // What yargs finds behind options that had to be loaded does not come to `fail`.
    refuse((error as Error).message, error as Error)
  }
}

void run()
