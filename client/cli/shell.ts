/** `mqnbd shell`: JavaScript with a disk in it, asked for line by line or given as a script. */
import * as fs from 'node:fs'
import * as os from 'node:os'
import * as path from 'node:path'
import { printable } from '../../shared/config/printable.ts'
import { formatSize } from '../../shared/config/size.ts'
import { configError } from '../../shared/errors/nbd-error.ts'
import { reason } from '../../shared/errors/system-error.ts'
import { connect, NBDError, type NBDDisk } from '../index.ts'
import { converse } from '../shell/converse.ts'
import { hexdump } from '../shell/hexdump.ts'
import { runScript, scriptError } from '../shell/run-script.ts'
import { commands, type ShellArguments } from './shell-options.ts'

/**
 * @returns the exit status
 * @throws NBDError when the server cannot be reached, or a script fails
 */
export async function shell(args: ShellArguments): Promise<number> {
  const uri = args.URI ?? args.uri
  const command = commands(args)
  const script = command.length > 0 ? command.map(commandText) : pipedScript()
  const disk = uri === undefined ? undefined : await connect(uri)
  const names = { disk, connect, hexdump, NBDError }
  try {
    if (script) await runToEnd(script, names)
    else {
      process.stdout.write(greeting(disk))
      await converse(names, { input: process.stdin, output: process.stdout, history: historyFile() })
    }
    return 0
  } finally {
    await disk?.close()
  }
}

const commandText = (text: string): string => (text === '-' ? readStdin() : text)

const pipedScript = (): string[] | undefined => (process.stdin.isTTY ? undefined : [readStdin()])

function readStdin(): string {
  try {
    return fs.readFileSync(process.stdin.fd, 'utf8')
  } catch (error) {
    throw configError(`cannot read standard input: ${reason(error)}`, error)
  }
}

/** Also a promise that the script has forgotten fails it. */
async function runToEnd(script: readonly string[], names: Record<string, unknown>): Promise<void> {
  let forgotten: ((error: unknown) => void) | undefined
  const failure = new Promise<never>((_, reject) => {
    forgotten = (error) => reject(scriptError(error))
  })
  process.on('unhandledRejection', forgotten!)
  try {
    await Promise.race([runScript(script, names), failure])
  } finally {
    process.off('unhandledRejection', forgotten!)
  }
}

function greeting(disk: NBDDisk | undefined): string {
  const about = disk
    ? `disk: export '${printable(disk.exportName)}', ${formatSize(disk.size)}${disk.readOnly ? ', read-only' : ''}`
    : 'no disk yet: disk = await connect(URI)'
  return `${about}\nhexdump(await disk.read(0, 512)) shows the first sector, .help more; Ctrl-D ends.\n`
}

/** In the user's state folder. @returns undefined when there is no place for it */
function historyFile(): string | undefined {
  const state = process.env['XDG_STATE_HOME'] || path.join(os.homedir(), '.local', 'state')
  const folder = path.join(state, 'mqnbd')
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
    return path.join(folder, 'shell_history')
  } catch {
    return undefined
  }
}
