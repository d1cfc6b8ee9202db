/** Maps of where an image has data, in one form whoever made them. */
import type { Test } from 'tap'
import { runOk } from './launched.ts'
import { program } from './requires.ts'

export interface MapEntry {
  offset: number
  length: number
  zero: boolean
  data: boolean
}

/** Joins neighbours of equal status: how a map is cut into pieces means nothing. */
function joined(entries: MapEntry[]): MapEntry[] {
  const map: MapEntry[] = []
  for (const entry of entries) {
    const last = map.at(-1)
    const goesOn = last?.zero === entry.zero && last.data === entry.data
    if (goesOn && last.offset + last.length === entry.offset) last.length += entry.length
    else map.push({ ...entry })
  }
  return map
}

/** `qemu-img map` of a file or a URI. */
export async function qemuMap(t: Test, image: string): Promise<MapEntry[]> {
  const text = await runOk(t, program('qemu-img'), ['map', '-f', 'raw', '--output=json', image])
  const entries = JSON.parse(text) as { start: number; length: number; zero: boolean; data: boolean }[]
  return joined(entries.map(({ start, length, zero, data }) => ({ offset: start, length, zero, data })))
}

/** `nbdinfo --map` of a URI. */
export async function nbdinfoMap(t: Test, uri: string): Promise<MapEntry[]> {
  const text = await runOk(t, program('nbdinfo'), ['--map', '--json', uri])
  const entries = JSON.parse(text) as { offset: number; length: number; type: number }[]
  return joined(
    entries.map(({ offset, length, type }) => ({
      offset,
      length,
      zero: (type & 2) !== 0,
      data: (type & 1) === 0
    }))
  )
}
