/** Ranges of bytes seen as blocks. */

/** Bytes `from` to `to` of the block that begins at `block`, which are not all of it. */
export interface Edge {
  block: number
  from: number
  to: number
}

export interface Blocks {
  /** All blocks that the range touches. */
  start: number
  end: number
  /** Those that it covers; none when `middleEnd` is not behind `middleStart`. */
  middleStart: number
  middleEnd: number
  /** Those that it covers in part: two at the most, in order. */
  edges: Edge[]
}

/** @param size of a block */
export function blocksOf(offset: number, length: number, size: number): Blocks {
  const rangeEnd = offset + length
  const start = offset - (offset % size)
  const middleEnd = rangeEnd - (rangeEnd % size)
  const middleStart = start === offset ? start : start + size
  const end = middleEnd === rangeEnd ? middleEnd : middleEnd + size
  if (middleStart > middleEnd) {
    const edges = length > 0 ? [{ block: start, from: offset - start, to: rangeEnd - start }] : []
    return { start, end, middleStart, middleEnd: middleStart, edges }
  }
  const edges: Edge[] = []
  if (offset < middleStart) edges.push({ block: start, from: offset - start, to: size })
  if (rangeEnd > middleEnd) edges.push({ block: middleEnd, from: 0, to: rangeEnd - middleEnd })
  return { start, end, middleStart, middleEnd, edges }
}
