// The terminal is told to erase a line.
/* eslint-disable no-control-regex */
import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import {
  describe,
  percentOf,
  Progress,
  ProgressBar,
  ProgressLines,
  ProgressNumbers,
  type ProgressOutput
} from '../../../../client/copy/progress.ts'
import { MiB } from '../../../helpers/files.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

/** What an output writes. */
function written(
  t: Test,
  make: (fd: number) => ProgressOutput,
  work: (progress: Progress) => void,
  total?: number
): string {
  const file = path.join(tempDir(t), 'out')
  const fd = fs.openSync(file, 'w')
  t.teardown(() => fs.closeSync(fd))
  work(new Progress(total, make(fd)))
  return fs.readFileSync(file, 'utf8')
}

const by = (step: number, times: number) => (progress: Progress) => {
  for (let i = 0; i < times; i++) progress.add(step)
  progress.end()
}

void t.test('progress - numbers for a program: each once, rising, 100 at the very end', async (t) => {
  const numbers = (fd: number): ProgressOutput => new ProgressNumbers(fd)
  const all = Array.from({ length: 101 }, (_, i) => `${i}/100\n`).join('')
  t.equal(written(t, numbers, by(1, 1000), 1000), all)
  t.equal(written(t, numbers, by(500, 2), 1000), '0/100\n50/100\n99/100\n100/100\n')
  t.equal(written(t, numbers, by(500, 2)), '0/100\n100/100\n', 'of an unknown size')
  t.equal(written(t, numbers, by(0, 0), 0), '0/100\n100/100\n', 'of nothing')
  t.equal(
    written(t, numbers, (progress) => (progress.add(600), progress.abandon()), 1000),
    '0/100\n60/100\n',
    'of what failed'
  )
})

void t.test('progress - lines for a log', async (t) => {
  const lines = written(t, (fd) => new ProgressLines(fd), by(MiB, 100), 100 * MiB).split('\n')
  t.equal(lines.length, 11)
  t.match(lines[0], /^ 10% {2}10 MiB of 100 MiB, \S+ \S+iB\/s, .* left$/)
  t.match(lines[9], /^100% {2}100 MiB, \S+ \S+iB\/s, 1 s$/)
})

void t.test('progress - a bar for a terminal', async (t) => {
  const bar = (fd: number): ProgressOutput => new ProgressBar({ fd, columns: 80 })
  const text = written(t, bar, by(MiB, 100), 100 * MiB)
  t.match(text, /^\r {2}0% \[-{20,}\] 0 B of 100 MiB, 0 B\/s/)
  t.match(text, /\r100% \[\*{20,}\] 100 MiB, [^\r\n]*\n$/)
  for (const drawn of text.split('\r')) t.ok(drawn.replace(/\x1b\[K|\n/g, '').length < 80)
  t.match(
    written(t, bar, (progress) => progress.abandon(), 10),
    /\n$/,
    'what follows begins a line'
  )
  t.notMatch(written(t, bar, by(MiB, 3)).split('\r')[1], /%/, 'of an unknown size there are no percents')
})

void t.test('progress - in words', async (t) => {
  const done = { bytes: 100 * MiB, total: 1000 * MiB, ms: 2000, ended: false }
  t.equal(describe(done), '100 MiB of 1000 MiB, 50 MiB/s, 18 s left')
  t.match(describe({ ...done, total: 100_000 * MiB }), /, 33:18 min left/)
  t.match(describe({ ...done, total: 1e6 * MiB }), /, 5:33:18 h left/)
  t.equal(describe({ ...done, total: undefined }), '100 MiB, 50 MiB/s')
  t.equal(describe({ ...done, ended: true }), '100 MiB, 50 MiB/s, 2 s')
  t.equal(percentOf({ ...done, bytes: 1000 * MiB }), 99)
  t.equal(percentOf({ ...done, ended: true }), 100)
})
