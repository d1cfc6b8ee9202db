/**
 * Node's options for a new worker: what the program was given itself. A worker is always a file, and refuses to hear
 * otherwise.
 */
export const workerExecArgv = (): string[] =>
  process.execArgv.filter((argument) => !argument.startsWith('--input-type'))
