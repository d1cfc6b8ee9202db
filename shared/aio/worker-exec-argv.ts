/**
 * Node's options for a new worker: what the program was given itself, which a worker has if it is not told otherwise.
 *
 * Told otherwise it must be when the program came by `--input-type`: a worker is always a file, and refuses that option.
 * It refuses V8's as well, which are the whole process's anyway. So what it is told then is what modules are loaded by.
 */

/** Each with a value behind it. */
const LOADING = ['--import', '--require', '-r', '--loader', '--experimental-loader', '--conditions', '-C']

/** For `new Worker`; undefined for Node's own way. */
export function workerExecArgv(given = process.execArgv): string[] | undefined {
  if (!given.some((argument) => argument.startsWith('--input-type'))) return undefined
  return given.filter(
    (argument, i) =>
      LOADING.some((name) => argument === name || argument.startsWith(`${name}=`)) ||
      LOADING.includes(given[i - 1] ?? '')
  )
}
