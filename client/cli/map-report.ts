/** A map as nbdinfo prints it; with several contexts, type and meaning in each of them. */
import { BASE_ALLOCATION, NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../shared/protocol/constants.ts'
import type { DiskMap } from './map-extents.ts'

interface Form {
  json?: boolean | undefined
  totals?: boolean | undefined
}

/** All there is of one kind. */
interface Total {
  size: number
  types: number[]
}

export function mapReport(map: DiskMap, { json = false, totals = false }: Form): string {
  if (json) return `${JSON.stringify(totals ? totalsJson(map) : extentsJson(map), null, 2)}\n`
  return (totals ? totalLines(map) : extentLines(map)).map((line) => `${line}\n`).join('')
}

const extentLines = ({ contexts, extents }: DiskMap): string[] =>
  extents.map(
    ({ offset, length, types }) =>
      `${column(offset, 10)}  ${column(length, 10)}  ${meanings(contexts, types, '  ')}`
  )

const extentsJson = ({ contexts, extents }: DiskMap): unknown[] =>
  extents.map(({ offset, length, types }) => ({ offset, length, ...typesJson(contexts, types) }))

const totalLines = (map: DiskMap): string[] =>
  totalsOf(map).map(({ size, types }) => {
    const percent = ((100 * size) / map.size).toFixed(1)
    return `${column(size, 10)} ${column(percent, 5)}% ${meanings(map.contexts, types, ' ')}`
  })

const totalsJson = (map: DiskMap): unknown[] =>
  totalsOf(map).map(({ size, types }) => ({
    size,
    percent: Number(((100 * size) / map.size).toPrecision(6)),
    ...typesJson(map.contexts, types)
  }))

/** By types, in their order. */
function totalsOf({ extents }: DiskMap): Total[] {
  const totals = new Map<string, Total>()
  for (const { length, types } of extents) {
    const key = types.join()
    const total = totals.get(key)
    if (total) total.size += length
    else totals.set(key, { size: length, types })
  }
  return [...totals.values()].sort((one, other) => {
    const differs = one.types.findIndex((type, i) => type !== other.types[i])
    return one.types[differs]! - other.types[differs]!
  })
}

const column = (value: number | string, width: number): string => String(value).padStart(width)

const meanings = (contexts: readonly string[], types: number[], gap: string): string =>
  types
    .map((type, i) => {
      const meaning = meaningOf(contexts[i]!, type)
      return column(type, 3) + (meaning === undefined ? '' : gap + meaning)
    })
    .join('  ')

function typesJson(contexts: readonly string[], types: number[]): Record<string, unknown> {
  const [first, ...others] = types.map((type, i) => {
    const description = meaningOf(contexts[i]!, type)
    return { type, ...(description === undefined ? {} : { description }) }
  })
  if (others.length === 0) return first!
  return { contexts: Object.fromEntries([first!, ...others].map((status, i) => [contexts[i]!, status])) }
}

/** What a status means, where nbdinfo knows it. */
function meaningOf(context: string, type: number): string | undefined {
  if (context === BASE_ALLOCATION)
    return ['data', 'hole', 'zero', 'hole,zero'][type & (NBD_STATE_HOLE | NBD_STATE_ZERO)]
  if (context.startsWith('qemu:dirty-bitmap:')) return ['clean', 'dirty'][type]
  if (context === 'qemu:allocation-depth') return ['absent', 'local'][type] ?? `backing depth ${type}`
  return undefined
}
