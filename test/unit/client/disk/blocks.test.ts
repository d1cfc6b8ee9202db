import t from 'tap'
import { blocksOf } from '../../../../client/disk/blocks.ts'

const SIZE = 8

void t.test('blocksOf - agrees with counting bytes', async (t) => {
  const wrong: string[] = []
  for (const base of [0, 2 ** 52]) {
    for (let offset = 0; offset < 3 * SIZE; offset++) {
      for (let length = 0; length < 4 * SIZE; length++) {
        const { start, end, middleStart, middleEnd, edges } = blocksOf(base + offset, length, SIZE)
        const covered = new Map<number, number>()
        for (let at = offset; at < offset + length; at++)
          covered.set(Math.floor(at / SIZE), (covered.get(Math.floor(at / SIZE)) ?? 0) + 1)
        const parts = [...covered].filter(([, count]) => count < SIZE)
        const whole = [...covered].filter(([, count]) => count === SIZE)
        const ok =
          parts.length === edges.length &&
          edges.every(
            ({ block, from, to }, i) =>
              block === base + parts[i]![0] * SIZE &&
              to - from === parts[i]![1] &&
              block + from >= base + offset &&
              block + to <= base + offset + length
          ) &&
          middleEnd - middleStart === whole.length * SIZE &&
          (whole.length === 0 || middleStart === base + whole[0]![0] * SIZE) &&
          (length === 0 ||
            (start === base + Math.floor(offset / SIZE) * SIZE && end - start === covered.size * SIZE))
        if (!ok) wrong.push(`${length} bytes at ${base} + ${offset}`)
      }
    }
  }
  t.strictSame(wrong, [])
})
