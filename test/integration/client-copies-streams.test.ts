import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { DATA_SIZE, shell, sparseImage } from '../helpers/copying.ts'
import { allocatedBytes, emptyImage, KiB, sameBytes } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

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
