/** Whether the garbage collector finds something. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { waitFor } from './wait-for.ts'

// Takes effect in contexts that are made after it.
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Waits until nothing refers to it any more. */
export const untilCollected = (name: string, ref: WeakRef<WeakKey>): Promise<boolean> =>
  waitFor(`${name} to be collected`, () => {
    collect()
    return ref.deref() === undefined
  })
