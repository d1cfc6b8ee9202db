import * as crypto from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { allocatedBytes, emptyImage, imageOf, KiB, MiB, sameBytes } from '../helpers/files.ts'
import { run, type Ran } from '../helpers/launched.ts'
import { MQNBD, mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

/** Data at both ends and in the middle, a hole, and zeroes that are allocated; of an odd size. */
function sparseImage(t: Test): string {
  const file = emptyImage(t, 40 * MiB + 1000)
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, crypto.randomBytes(3 * MiB + 100), 0, 3 * MiB + 100, 0)
  fs.writeSync(fd, Buffer.alloc(2 * MiB), 0, 2 * MiB, 8 * MiB)
  fs.writeSync(fd, crypto.randomBytes(5000), 0, 5000, 20 * MiB + 777)
  fs.writeSync(fd, crypto.randomBytes(100), 0, 100, 40 * MiB + 900)
  fs.closeSync(fd)
  return file
}

const DATA_SIZE = 3 * MiB + 100 + 5000 + 100

async function copies(t: Test, ...args: string[]): Promise<void> {
  const { status, stdout, stderr } = await mqnbd(t, 'copy', ...args)
  t.same({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' }, `copy ${args.join(' ')}`)
}

/** A command line of a shell, in which $MQNBD is mqnbd. */
const shell = (t: Test, script: string, ...args: string[]): Promise<Ran> =>
  run(t, 'sh', ['-c', `MQNBD="${process.execPath} ${MQNBD}"; ${script}`, 'sh', ...args])

void t.test('copy - file to server, server to server, server to file', async (t) => {
  const original = sparseImage(t)
  const { size } = fs.statSync(original)
  const [one, other] = [emptyImage(t, size), emptyImage(t, size + 5000)]
  fs.writeFileSync(one, Buffer.alloc(size, 0xaa))
  const first = await Mqnbd.serve(t, [one, '-f', 'raw'])
  const second = await Mqnbd.serve(t, [other, '-f', 'raw'])
  const fetched = path.join(tempDir(t), 'fetched.img')
  await copies(t, '--flush', original, first.uri)
  await copies(t, first.uri, second.uri)
  await copies(t, '-C', '2', '-R', '3', '--request-size=64K', first.uri, fetched)
  t.ok(sameBytes(original, fetched))
  t.ok(sameBytes(original, one))
  const { status, stdout } = await mqnbd(t, 'compare', original, second.uri)
  t.same({ status, stdout }, { status: 0, stdout: 'Warning: Image size mismatch!\nImages are identical.\n' })
  for (const file of [one, other, fetched])
    t.ok(allocatedBytes(file) < DATA_SIZE + 256 * KiB, `${allocatedBytes(file)} bytes are allocated`)
})

void t.test('copy - a file that was there before is not seen through', async (t) => {
  const original = sparseImage(t)
  const before = imageOf(t, Buffer.alloc(60 * MiB, 0xaa))
  await copies(t, original, before)
  t.ok(sameBytes(original, before))
  t.ok(allocatedBytes(before) < DATA_SIZE + 256 * KiB)
})

void t.test('copy - sparseness is as asked', async (t) => {
  const original = sparseImage(t)
  const copy = path.join(tempDir(t), 'copy.img')
  const { size } = fs.statSync(original)
  await copies(t, '-S', '0', original, copy)
  t.ok(sameBytes(original, copy))
  const unsearched = allocatedBytes(copy)
  t.ok(unsearched >= DATA_SIZE + 2 * MiB && unsearched < 10 * MiB, `holes, but no other: ${unsearched}`)
  await copies(t, '-S', '0', '--no-extents', original, copy)
  t.ok(sameBytes(original, copy))
  t.ok(allocatedBytes(copy) >= size, 'everything is read and written')
  await copies(t, '--no-extents', original, copy)
  t.ok(allocatedBytes(copy) < DATA_SIZE + 256 * KiB, 'zeroes are found')
  await copies(t, '--allocated', original, copy)
  t.ok(sameBytes(original, copy))
  t.ok(allocatedBytes(copy) >= size, 'no holes are left')
  const server = await Mqnbd.serve(t, [emptyImage(t, size), '-f', 'raw'])
  await copies(t, '--destination-is-zero', original, server.uri)
  await copies(t, '--synchronous', server.uri, copy)
  t.ok(sameBytes(original, copy))
})

void t.test('copy - standard input and output, as pipes and as files', async (t) => {
  const original = sparseImage(t)
  const server = await Mqnbd.serve(t, [emptyImage(t, fs.statSync(original).size), '-f', 'raw'])
  const folder = tempDir(t)
  const named = (name: string): string => path.join(folder, name)
  const script = `set -e
    cat "$1" | $MQNBD copy - "$2"
    $MQNBD copy "$2" - | cat > "$3/pipe"
    $MQNBD copy "$2" - > "$3/file"
    $MQNBD copy - "$3/in" < "$1"
    cat "$1" | $MQNBD copy - - | cat > "$3/through"
    printf before > "$3/appended"; $MQNBD copy "$2" - >> "$3/appended"`
  const { status, stderr } = await shell(t, script, original, server.uri, folder)
  t.same({ status, stderr }, { status: 0, stderr: '' })
  for (const name of ['pipe', 'file', 'in', 'through']) t.ok(sameBytes(original, named(name)), name)
  for (const name of ['file', 'in'])
    t.ok(allocatedBytes(named(name)) < DATA_SIZE + 256 * KiB, `${name} has holes`)
  const appended = fs.readFileSync(named('appended'))
  t.equal(appended.subarray(0, 6).toString(), 'before')
  t.ok(appended.subarray(6).equals(fs.readFileSync(original)))
})

void t.test('copy - zeroes at the end of a stream are there', async (t) => {
  const folder = tempDir(t)
  const { status } = await shell(t, 'head -c 5000000 /dev/zero | $MQNBD copy - "$1/zeroes"', folder)
  t.equal(status, 0)
  t.ok(fs.readFileSync(path.join(folder, 'zeroes')).equals(Buffer.alloc(5_000_000)))
  t.ok(allocatedBytes(path.join(folder, 'zeroes')) < 64 * KiB)
})

void t.test('copy - tells how far it is, to programs and to people', async (t) => {
  const original = sparseImage(t)
  const numbers = await shell(t, '$MQNBD copy --progress=3 "$1" null: 3>&1 >/dev/null', original)
  const lines = numbers.stdout.split('\n').slice(0, -1)
  t.same([lines[0], lines.at(-1)], ['0/100', '100/100'])
  t.ok(lines.every((line) => /^\d+\/100$/.test(line)))
  const values = lines.map((line) => parseInt(line))
  t.same(
    values,
    [...new Set(values)].sort((a, b) => a - b),
    'rising'
  )
  const people = await mqnbd(t, 'copy', '-p', original, 'null:')
  t.match(people.stderr, /^100% {2}40\.0 MiB, .*\/s, \d+ s\n$/m)
  t.equal(people.stdout, '')
})
