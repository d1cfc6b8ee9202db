/** Of several runs. */

export const sorted = (values: readonly number[]): number[] => values.toSorted((a, b) => a - b)

/** The upper one of two in the middle. */
export const median = (values: readonly number[]): number => sorted(values)[Math.floor(values.length / 2)]!

export const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
