/** The inner side of a thread that runs entry points: it imports what it is told to, and knows none of it beforehand. */
import type { MessagePort } from 'node:worker_threads'
import { marshalError } from '../errors/marshal.ts'
import { bugError } from '../errors/nbd-error.ts'
import type { RunMessage } from './entry-point.ts'

type Module = Record<string, unknown>

/** Modules that were imported: asking for one again takes longer than many a run. */
const modules = new Map<string, Module>()

async function imported(url: string): Promise<Module> {
  const module = (await import(url)) as Module
  modules.set(url, module)
  return module
}

async function run({ module: url, name, argument }: RunMessage): Promise<unknown> {
  const module = modules.get(url) ?? (await imported(url))
  const entry = module[name]
  if (typeof entry !== 'function') throw bugError(`${url} exports no function '${name}'`)
  return (entry as (argument: unknown) => unknown)(argument)
}

async function runAndAnswer(port: MessagePort, message: RunMessage): Promise<void> {
  const { id, name } = message
  let result: unknown
  try {
    result = await run(message)
  } catch (error) {
    port.postMessage({ id, error: marshalError(error) })
    return
  }
  try {
    port.postMessage({ id, result })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    port.postMessage({ id, error: marshalError(bugError(`the result of ${name} cannot be posted: ${why}`)) })
  }
}

/**
 * Answers each RunMessage that comes through a port by a RanMessage. Several may run at a time, and they may end in any
 * order; a run that fails, or whose result cannot be posted, fails alone.
 *
 * @context the thread in which they are to run
 */
export function serveEntryPoints(port: MessagePort): void {
  port.on('message', (message: RunMessage) => void runAndAnswer(port, message))
}
