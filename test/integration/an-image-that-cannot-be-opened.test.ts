import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { allRefused, isRefusal } from '../helpers/command-line.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { run, runOk } from '../helpers/launched.ts'
import { MQNBD } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('image - missing, or no file: status 1, and no socket', async (t) => {
  const folder = tempDir(t)
  const fifo = path.join(folder, 'fifo')
  await runOk(t, 'mkfifo', [fifo])
  fs.symlinkSync('nowhere', path.join(folder, 'dangling'))
  const images: [image: string, reason: RegExp][] = [
    [path.join(folder, 'nothing'), /no such file/],
    [path.join(folder, 'dangling'), /no such file/],
    [path.join(folder, 'no', 'folder'), /no such file/],
    [path.join(fifo, 'x'), /not a directory/],
    [folder, /directory/],
    [fifo, /not a regular file/],
    ['/dev/null', /character device/]
  ]
  const cases = images.flatMap(([image, reason]): [args: string[], reason: RegExp][] => [
    [[image], reason],
    [[image, '-r'], reason]
  ])
  await allRefused(t, ['serve', '-k', path.join(folder, 's')], cases, 1)
  t.notOk(fs.existsSync(path.join(folder, 's')), 'no socket was made')
})

void t.test('image - that may not be read, or written', requires('setpriv'), async (t) => {
  // Root may read everything, by capabilities that can be given up.
  const powerless = process.getuid!() === 0 ? ['--bounding-set', '-dac_override,-dac_read_search'] : []
  const serve = (...args: string[]): ReturnType<typeof run> =>
    run(t, program('setpriv'), [...powerless, process.execPath, MQNBD, 'serve', ...args, '-p', '0'])
  const image = emptyImage(t, MiB)

  fs.chmodSync(image, 0o000)
  isRefusal(
    t,
    await serve(image),
    1,
    /cannot open '.*' for writing: permission denied|cannot open/,
    'mode 000'
  )
  isRefusal(t, await serve(image, '-r'), 1, /cannot open '.*': permission denied/, 'mode 000, read-only')
  fs.chmodSync(image, 0o444)
  isRefusal(t, await serve(image), 1, /cannot open '.*' for writing: permission denied/, 'mode 444')
})
