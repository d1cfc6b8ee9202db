/** qemu-io: I/O by script. */
import type { Test } from 'tap'
import { run, runOk, type Ran } from './launched.ts'
import { program } from './requires.ts'

// By default it asks for FUA with every write; here only where a command says so.
const general = ['-f', 'raw', '-t', 'writeback']

const withCommands = (commands: string[]): string[] => commands.flatMap((command) => ['-c', command])

/** Runs commands on a raw image or a URI; a command that fails, or reads another pattern than it was told, is an error. */
export const qemuIo = (t: Test, image: string, ...commands: string[]): Promise<string> =>
  runOk(t, program('qemu-io'), [...general, ...withCommands(commands), image])

/** As `qemuIo`, for what is expected to fail, or needs other options. */
export const tryQemuIo = (t: Test, image: string, options: string[], ...commands: string[]): Promise<Ran> =>
  run(t, program('qemu-io'), [...general, ...options, ...withCommands(commands), image])
