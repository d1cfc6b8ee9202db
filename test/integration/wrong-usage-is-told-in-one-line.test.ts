import t from 'tap'
import { allRefused } from '../helpers/command-line.ts'

const wrong: [args: string[], reason: RegExp][] = [
  [[], /command/i],
  [['--nope'], /command|nope/i],
  [['sreve', 'memory:1M'], /sreve/],
  [['serve'], /argument|image/i],
  [['serve', '--read-only'], /argument|image/i],
  [['serve', 'memory:1M', '--nope'], /nope/],
  [['serve', 'memory:1M', '-z'], /z/],
  [['serve', 'memory:1M', 'memory:2M'], /memory:2M/],
  [['serve', 'memory:1M', '--log-level', 'loud'], /loud/],
  [['serve', 'memory:1M', '--cache', 'writearound'], /writearound.*none.*writeback/],
  [['serve', 'memory:1M', '--aio', 'native'], /native.*threads.*io_uring/],
  [['serve', 'memory:1M', '--discard', 'maybe'], /maybe.*ignore.*unmap/],
  [['serve', 'memory:1M', '--detect-zeroes', 'maybe'], /maybe.*off.*on.*unmap/],
  [['serve', 'disk.img', '-n', '--cache', 'writeback'], /--nocache and --cache: one of them/],
  [['serve', 'memory:1M', '-v', '--log-level', 'info'], /--verbose and --log-level: one of them/]
]

void t.test('command line - what it does not know, or lacks: status 2', async (t) => {
  await allRefused(t, [], wrong, 2)
})
