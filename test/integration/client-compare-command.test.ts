import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { emptyImage, imageOf, MiB } from '../helpers/files.ts'
import { run, runOk, type Ran } from '../helpers/launched.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { program, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'

/** A copy of a file, with its holes, and with bytes written over at some places. */
async function changed(t: Test, file: string, ...places: [number, string][]): Promise<string> {
  const copy = path.join(tempDir(t), 'changed.img')
  await runOk(t, 'cp', ['--sparse=always', file, copy])
  const fd = fs.openSync(copy, 'r+')
  for (const [offset, text] of places) fs.writeSync(fd, text, offset)
  fs.closeSync(fd)
  return copy
}

function original(t: Test): string {
  const file = imageOf(t, crypto.randomBytes(2 * MiB))
  fs.truncateSync(file, 20 * MiB)
  return file
}

/** QEMU compares flags that tell where extents end, too: so it may find a difference sooner. */
const withoutPlaceOfStatus = (ran: Ran): Ran => ({
  ...ran,
  stdout: ran.stdout.replace(/Offset \d+ block status/, 'Offset N block status')
})

void t.test('compare - prints and returns what qemu-img does', requires('qemu-img'), async (t) => {
  const one = original(t)
  const longer = await changed(t, one)
  fs.truncateSync(longer, 21 * MiB)
  const others: [name: string, file: string][] = [
    ['the same', await changed(t, one)],
    ['a sector', await changed(t, one, [1024 * 512, 'other'])],
    ['in a hole', await changed(t, one, [10 * MiB, 'other'])],
    ['zeroes in a hole', await changed(t, one, [10 * MiB, '\0'])],
    ['the end', await changed(t, one, [20 * MiB - 512, 'end'])],
    ['longer', longer],
    ['longer, and not zero', await changed(t, longer, [20 * MiB + 512, 'more'])],
    ['shorter', imageOf(t, fs.readFileSync(one).subarray(0, 2 * MiB))]
  ]
  const cases = others.flatMap(([name, other]) => [[], ['-s']].map((options) => ({ name, other, options })))
  await Promise.all(
    [...cases, { ...cases[0]!, options: ['-q'] }].map(async ({ name, other, options }) => {
      const args = [...options, one, other]
      const theirs = await run(t, program('qemu-img'), ['compare', '-f', 'raw', '-F', 'raw', ...args])
      const ours = await mqnbd(t, 'compare', ...args)
      t.same(withoutPlaceOfStatus(ours), withoutPlaceOfStatus(theirs), `${name} ${options.join(' ')}`)
    })
  )
})

void t.test('compare - exports with files, to the byte', async (t) => {
  const one = original(t)
  const server = await Mqnbd.serve(t, [one, '-r', '-f', 'raw'])
  const same = await mqnbd(t, 'compare', '-s', one, server.uri)
  t.same(same, { status: 0, signal: null, stdout: 'Images are identical.\n', stderr: '' })
  const other = await changed(t, one, [1_500_001, '\u0001\u0002'])
  const { status, stdout } = await mqnbd(t, 'compare', server.uri, other)
  t.equal(status, 1)
  const at = Number(/^Content mismatch at offset (\d+)!\n$/.exec(stdout)?.[1])
  t.ok(at === 1_500_001 || at === 1_500_002, stdout)
})

void t.test('compare - says what is wrong, with a status of its own', async (t) => {
  const one = emptyImage(t, MiB)
  const ran = (...args: string[]): ReturnType<typeof mqnbd> => mqnbd(t, 'compare', ...args)
  isRefusal(
    t,
    await ran(one, `${one}.none`),
    2,
    /cannot open '.*none': no such file or directory/,
    'not there'
  )
  isRefusal(t, await ran(one, 'nbd://localhost:1'), 2, /cannot open 'nbd.*'/, 'no server')
  isRefusal(t, await ran(one), 2, /which FILE1 and FILE2/, 'one file')
  const qcow2 = imageOf(t, Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(MiB)]))
  isRefusal(
    t,
    await ran(one, qcow2),
    2,
    /is a qcow2 image, which cannot be read yet; '-F raw' compares/,
    'qcow2'
  )
  t.match(await ran('-F', 'raw', one, qcow2), { status: 1, stdout: 'Content mismatch at offset 0!\n' })
  const server = await Mqnbd.serve(t, [one, '-f', 'raw'])
  isRefusal(t, await ran(one, server.uri), 2, /it is locked: another process writes it/, 'in use')
  t.match(await ran('-U', one, server.uri), { status: 0, stdout: 'Images are identical.\n' })
})
