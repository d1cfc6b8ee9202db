/** Where an axis has its marks: at numbers that people like. */

const NICE = [1, 2, 5]

/**
 * Marks of a linear axis that begins at 0: 1, 2 or 5 times a power of ten apart.
 *
 * @param max that the axis must reach; more than 0
 * @param most marks besides the 0
 * @returns the last one is `max` or above
 */
export function linearTicks(max: number, most: number): number[] {
  const step = niceStep(max / most)
  const count = Math.ceil(max / step - 1e-9)
  return Array.from({ length: count + 1 }, (_, i) => exact(i * step))
}

/** The least of 1, 2, 5, 10 ... that is not below `rough`. */
function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = NICE.find((step) => step * power >= rough * (1 - 1e-9)) ?? 10
  return exact(step * power)
}

/**
 * Marks of a logarithmic axis: powers of ten, and where there are few of these, 2 and 5 times them as well.
 *
 * @param min more than 0
 * @returns two or more; the first is `min` or below, the last `max` or above
 */
export function logTicks(min: number, max: number): number[] {
  const wide = max / min > 1000
  const steps = wide ? [1] : NICE
  const ticks: number[] = []
  for (let power = Math.floor(Math.log10(min)); ; power++) {
    for (const step of steps) {
      const tick = exact(step * 10 ** power)
      // The axis begins at the last one that is not above the minimum.
      if (tick <= min) ticks.length = 0
      ticks.push(tick)
      if (tick >= max && ticks.length > 1) return ticks
    }
  }
}

/** Without what adding up powers of ten leaves behind the digits. */
const exact = (value: number): number => Number(value.toPrecision(12))
