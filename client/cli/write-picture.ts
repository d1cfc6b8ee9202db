import * as fs from 'node:fs'
import { configError } from '../../shared/errors/nbd-error.ts'
import { reason } from '../../shared/errors/system-error.ts'

/** Writes what `--svg FILE` asked for. @throws NBDError of kind `config` */
export function writePicture(path: string, svg: string): void {
  try {
    fs.writeFileSync(path, svg)
  } catch (error) {
    throw configError(`cannot write '${path}': ${reason(error)}`, error)
  }
}
