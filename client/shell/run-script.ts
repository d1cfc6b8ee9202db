/** Running JavaScript that a user has given, to its end. */
import * as path from 'node:path'
import Module, { createRequire } from 'node:module'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'

/** What a script is called in a stack. */
const SCRIPT = '[script]'

type Main = (...values: unknown[]) => Promise<void>

/**
 * Runs pieces of code one after the other, as one: what a piece declares, the next ones see. `await` may stand anywhere,
 * `require` and `import()` resolve from the working directory.
 *
 * @param names what the code finds besides the globals
 * @throws NBDError that says in one line what has failed, and where
 */
export async function runScript(pieces: readonly string[], names: Record<string, unknown>): Promise<void> {
  try {
    await compile(pieces.join('\n;'), Object.keys(names))(...Object.values(names))
  } catch (error) {
    throw scriptError(error)
  }
}

/** As Node does for `node -e`: only a module of this kind can import without a loader of its own. */
function compile(code: string, parameters: readonly string[]): Main {
  const file = path.join(process.cwd(), SCRIPT)
  const module = new Module(file) as Module & { _compile(code: string, file: string): unknown }
  module.filename = file
  module.require = createRequire(file)
  module._compile(`module.exports = async (${parameters.join(', ')}) => {${code}\n}`, file)
  return module.exports as Main
}

/** What a script has thrown, in one line. */
export function scriptError(error: unknown): NBDError {
  if (NBDError.is(error) && error.kind !== 'bug') return error
  if (!(error instanceof Error)) return configError(`the script threw ${String(error)}`, error)
  const line = /\[script\]:(\d+)/.exec(error.stack ?? '')?.[1]
  const where = line === undefined ? '' : ` (line ${line})`
  return configError(`${error.name}: ${error.message.split('\n')[0]!}${where}`, error)
}
