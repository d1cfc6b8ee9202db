/** qemu-nbd, serving. */
import * as path from 'node:path'
import type { Test } from 'tap'
import { Launched, run } from './launched.ts'
import { program } from './requires.ts'
import { tempDir } from './temp-dir.ts'
import { waitFor } from './wait-for.ts'

export class QemuNbd {
  readonly process: Launched
  readonly uri: string

  private constructor(process: Launched, uri: string) {
    this.process = process
    this.uri = uri
  }

  /** `qemu-nbd ARGS` on a Unix socket of the test's own, ready to serve; ended with the test. Needs nbdinfo, too. */
  static async serve(t: Test, args: string[]): Promise<QemuNbd> {
    const socket = path.join(tempDir(t), 's')
    const launched = new Launched(t, program('qemu-nbd'), ['-t', '-k', socket, ...args])
    const uri = `nbd+unix:///?socket=${socket}`
    await waitFor('qemu-nbd to serve', async () => {
      if (launched.ended) throw new Error(`qemu-nbd has ended: ${launched.stderr}`)
      return (await run(t, program('nbdinfo'), ['--size', uri])).status === 0
    })
    return new QemuNbd(launched, uri)
  }
}
