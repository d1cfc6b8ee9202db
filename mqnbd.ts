#!/usr/bin/env node
/** The program: its commands, and how they end. The only file that knows both server and client. */
import yargs from 'yargs'
import { hideBin } from 'yargs/helpers'
import { buildCompare } from './client/cli/compare-options.ts'
import { buildCopy } from './client/cli/copy-options.ts'
import { buildDump } from './client/cli/dump-options.ts'
import { buildAttach, buildDetach } from './client/cli/attach-options.ts'
import { buildBench } from './client/cli/bench-options.ts'
import { buildInfo, withMapValue } from './client/cli/info-options.ts'
import { buildList } from './client/cli/list-options.ts'
import { buildMap } from './client/cli/map-options.ts'
import { withProgressFd } from './client/cli/progress-options.ts'
import { buildShell } from './client/cli/shell-options.ts'
import { buildServe } from './server/cli/serve-options.ts'
import { printable } from './shared/config/printable.ts'
import { NBDError } from './shared/errors/nbd-error.ts'
import { reason } from './shared/errors/system-error.ts'

const USAGE_ERROR = 2

function fail(message: string, status: number): never {
  process.stderr.write(`mqnbd: ${message}\n`)
  process.exit(status)
}

try {
  process.cwd()
} catch (error) {
  fail(`the working directory cannot be used: ${reason(error)}`, 1)
}

await yargs(withProgressFd(withMapValue(hideBin(process.argv))))
  .scriptName('mqnbd')
  .usage('mqnbd COMMAND [options]\n\nA multi-queue NBD (Network Block Device) server, and clients.')
  .command(
    'serve [image]',
    'Serve an image to NBD clients',
    buildServe,
    // Each command's code is loaded when it runs.
    async (args) => process.exit(await (await import('./server/cli/serve.ts')).serve(args))
  )
  .command('info [target]', 'Print what a server tells about an export', buildInfo, async (args) =>
    process.exit(await (await import('./client/cli/info.ts')).info(args))
  )
  .command('list [target]', 'Print the exports of a server', buildList, async (args) =>
    process.exit(await (await import('./client/cli/list.ts')).list(args))
  )
  .command('map [target]', 'Print where an export or a file has data', buildMap, async (args) =>
    process.exit(await (await import('./client/cli/map.ts')).map(args))
  )
  .command('copy [source] [destination]', 'Copy from and to NBD servers', buildCopy, async (args) =>
    process.exit(await (await import('./client/cli/copy.ts')).runCopy(args))
  )
  .command('compare [file1] [file2]', 'Tell whether two disks are the same', buildCompare, async (args) =>
    process.exit(await (await import('./client/cli/compare.ts')).runCompare(args))
  )
  .command('dump [uri]', 'Print a disk as a hex dump', buildDump, async (args) =>
    process.exit(await (await import('./client/cli/dump.ts')).runDump(args))
  )
  .command('bench [uri]', 'Measure what an export can do', buildBench, async (args) =>
    process.exit(await (await import('./client/cli/bench.ts')).bench(args))
  )
  .command('shell [URI]', 'Use an export from JavaScript', buildShell, async (args) =>
    process.exit(await (await import('./client/cli/shell.ts')).shell(args))
  )
  .command('attach [device] [uri]', 'Make an export a block device (Linux)', buildAttach, async (args) =>
    process.exit(await (await import('./client/cli/attach.ts')).attach(args))
  )
  .command('detach [device]', 'End what attach has begun', buildDetach, async (args) =>
    process.exit(await (await import('./client/cli/detach.ts')).detach(args))
  )
  .demandCommand(1, 'which COMMAND?')
  .strictCommands()
  .strict()
  .parserConfiguration({ 'duplicate-arguments-array': false })
  .wrap(Math.min(100, process.stdout.columns ?? 100))
  .help()
  .alias('help', 'h')
  .alias('version', 'V')
  .fail((message, error) => {
    // What one of our checks returns comes as a string, whatever the types say.
    if (!error || typeof error === 'string' || error.name === 'YError')
      fail(`${printable(message.replace(/\s+/g, ' ').trim())} (try 'mqnbd --help')`, USAGE_ERROR)
    if (NBDError.is(error) && error.kind !== 'bug') fail(printable(error.message), 1)
    // A fault of ours: whoever reports it needs the stack.
    fail(error.stack ?? String(error), 1)
  })
  .parseAsync()
