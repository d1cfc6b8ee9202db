import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { Launched } from '../helpers/launched.ts'
import { Mqnbd, MQNBD } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

const MiB = 1024 * 1024

const serve = (t: Test, image: string, socket: string): Promise<Mqnbd> =>
  Mqnbd.serve(t, [image, '-f', 'raw', '-t', '-k', socket])

for (const direction of ['from', 'to'] as const) {
  void t.test(`copy ${direction} a server that is killed and comes again - nothing is missing`, async (t) => {
    const folder = tempDir(t)
    const [file, image, socket] = ['file', 'image', 'socket'].map((name) => path.join(folder, name))
    const content = crypto.randomBytes(8 * MiB)
    fs.writeFileSync(direction === 'from' ? image! : file!, content)
    if (direction === 'to') fs.writeFileSync(image!, Buffer.alloc(content.length, 1))
    const uri = `nbd+unix:///?socket=${socket}`
    const first = await serve(t, image!, socket!)
    const ends = direction === 'from' ? [uri, file!] : [file!, uri]
    const slowly = ['--synchronous', '--request-size', '4K', '--progress=2', '--reconnect-delay', '600']
    const copy = new Launched(t, process.execPath, [MQNBD, 'copy', ...slowly, ...ends])
    await copy.output('stderr', /^10\/100$/m)
    await first.process.end('SIGKILL')
    t.notMatch(copy.stderr, /^100\/100$/m, 'it was in the middle')
    await serve(t, image!, socket!)
    await copy.output('stderr', /^100\/100$/m)
    t.strictSame(await copy.exit, { status: 0, signal: null })
    const [here, there] = [file!, image!].map((name) => fs.readFileSync(name))
    t.ok(here!.equals(content) && there!.equals(content))
  })
}
