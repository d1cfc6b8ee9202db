/** The exports of this IOThread, by name. */
import { bugError } from '../../shared/errors/nbd-error.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import { NBDExport, type ExportDescription } from './nbd-export.ts'

const exports = new Map<string, NBDExport>()

/** @context an IOThread */
export function addExport(description: ExportDescription): void {
  if (exports.has(description.name)) throw bugError(`export '${description.name}' is added twice`)
  exports.set(description.name, new NBDExport(description))
}

/**
 * The export that a client means. The empty name is the default export: the one of that name, or the only one.
 *
 * @context an IOThread
 */
export function findExport(name: string): NBDExport | undefined {
  const found = exports.get(name)
  if (found || name !== '' || exports.size !== 1) return found
  return exports.values().next().value
}

/** @context an IOThread */
export const listExports = (): NBDExport[] => [...exports.values()]

/** `addExport`, for the main thread to run in an IOThread. */
export const ADD_EXPORT: EntryPoint<ExportDescription, void> = { module: import.meta.url, name: 'addExport' }
