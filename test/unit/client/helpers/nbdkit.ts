/** nbdkit, serving. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import type { Test } from 'tap'
import { Launched } from '../../../helpers/launched.ts'
import { program } from '../../../helpers/requires.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

export class Nbdkit {
  readonly process: Launched
  /** Of the default export. */
  readonly uri: string
  readonly socket: string

  private constructor(process: Launched, socket: string) {
    this.process = process
    this.socket = socket
    this.uri = `nbd+unix:///?socket=${socket}`
  }

  /** `nbdkit ARGS` on a Unix socket of the test's own, ready to serve; ended with the test. */
  static async serve(t: Test, args: string[]): Promise<Nbdkit> {
    const folder = tempDir(t)
    const [socket, pidFile] = [path.join(folder, 's'), path.join(folder, 'pid')]
    const launched = new Launched(t, program('nbdkit'), ['-f', '-U', socket, '-P', pidFile, ...args])
    // Written when it accepts.
    await waitFor('nbdkit to serve', () => {
      if (launched.ended) throw new Error(`nbdkit has ended: ${launched.stderr}`)
      return fs.existsSync(pidFile) && fs.readFileSync(pidFile, 'utf8').endsWith('\n')
    })
    return new Nbdkit(launched, socket)
  }

  uriOf(exportName: string): string {
    return `nbd+unix:///${encodeURIComponent(exportName)}?socket=${this.socket}`
  }
}
