/** libuv's texts for errnos; Node 20 has no public function for them. */
import { getSystemErrorMap } from 'node:util'

const texts = getSystemErrorMap()

/** @param errno positive */
export const getSystemErrorMessage = (errno: number): string => texts.get(-errno)?.[1] ?? `errno ${errno}`
