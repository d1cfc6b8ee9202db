/**
 * The exports of a server, as one IOThread knows them. Each thread knows all of them, so that any can negotiate.
 *
 * An IOThread may work for several servers of a process; a server is known here by its number.
 *
 * @context an IOThread
 */
import { importDrivers } from '../../shared/block/driver-registry.ts'
import { bugError } from '../../shared/errors/nbd-error.ts'
import type { EntryPoint } from '../../shared/aio/entry-point.ts'
import type { TLSPolicy } from '../negotiation/tls-policy.ts'
import { NBDExport, type ExportDescription } from './nbd-export.ts'

export class ExportTable {
  /** Undefined when there is no TLS. */
  tls: TLSPolicy | undefined
  readonly #exports = new Map<string, NBDExport>()
  /** Why those are no longer served whose threads have died, by name. */
  readonly #lost = new Map<string, string>()

  add(description: ExportDescription): void {
    const { name } = description
    if (this.#exports.has(name)) throw bugError(`export '${name}' is added twice`)
    this.#exports.set(name, new NBDExport(description))
  }

  /** Nobody serves this export any more. @param why in words, for clients that ask for it */
  lose(name: string, why: string): void {
    this.#lost.set(name, why)
  }

  /**
   * The export that a client means. The empty name is the default export: the one of that name, or the only one.
   *
   * @returns the export, or a sentence that says why there is none
   */
  find(name: string): NBDExport | string {
    const exports = this.#exports
    const only = name === '' && exports.size === 1 ? exports.values().next().value : undefined
    const found = exports.get(name) ?? only
    return (found && this.#lost.get(found.name)) ?? found ?? `there is no export '${name}'`
  }

  /** Those that can be asked for. */
  list(): NBDExport[] {
    return [...this.#exports.values()].filter(({ name }) => !this.#lost.has(name))
  }
}

const tables = new Map<number, ExportTable>()

/** @param server its number */
export function exportTable(server: number): ExportTable {
  let table = tables.get(server)
  if (!table) tables.set(server, (table = new ExportTable()))
  return table
}

const entry = <A>(name: string): EntryPoint<A, void> => ({ module: import.meta.url, name })

export const ADD_EXPORT = entry<{ server: number; description: ExportDescription }>('addExport')
export async function addExport({
  server,
  description
}: {
  server: number
  description: ExportDescription
}): Promise<void> {
  await importDrivers(description.drivers)
  exportTable(server).add(description)
}

export const LOSE_EXPORT = entry<{ server: number; name: string; why: string }>('loseExport')
export const loseExport = ({ server, name, why }: { server: number; name: string; why: string }): void =>
  exportTable(server).lose(name, why)

/** The server is closed. */
export const FORGET_EXPORTS = entry<number>('forgetExports')
export const forgetExports = (server: number): void => void tables.delete(server)
