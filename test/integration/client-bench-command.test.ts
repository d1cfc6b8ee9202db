import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { connect } from '../../client/index.ts'
import { allRefused, isRefusal } from '../helpers/command-line.ts'
import { Launched, run } from '../helpers/launched.ts'
import { MQNBD, mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor, within } from '../helpers/wait-for.ts'
import { elementsOf, parseXml } from '../helpers/xml.ts'

interface Report {
  uri: string
  rw: string
  mix?: number
  seconds: number
  interrupted: boolean
  cpu_seconds: { user: number }
  reads: Measured
  writes: Measured
  flushes: Measured
  series: { interval_ms: number; intervals: { requests: number }[] }
}

interface Measured {
  requests: number
  bytes: number
  iops: number
  latency_ns: Record<string, number>
  histogram: { from_ns: number; to_ns: number; count: number }[]
}

const MiB = 1024 * 1024
const PATTERN = Buffer.alloc(MiB, 'mqnbd')

async function benchJson(t: Parameters<typeof mqnbd>[0], ...args: string[]): Promise<Report> {
  const { status, stdout, stderr } = await mqnbd(t, 'bench', '--json', ...args)
  t.same({ status, stderr }, { status: 0, stderr: '' })
  return JSON.parse(stdout) as Report
}

/** A disk of 1 MiB that holds PATTERN. */
async function servePattern(
  t: Parameters<typeof mqnbd>[0]
): Promise<{ server: Mqnbd; contents: () => Promise<Buffer> }> {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const disk = await connect(server.uri)
  t.teardown(() => disk.close())
  await disk.write(0, PATTERN)
  return { server, contents: () => disk.read(0, MiB) }
}

void t.test('bench - reads, and what they took, as text', async (t) => {
  const { server, contents } = await servePattern(t)
  const { status, stdout, stderr } = await mqnbd(t, 'bench', server.uri, '--requests', '500', '--depth', '8')
  t.same({ status, stderr }, { status: 0, stderr: '' })
  const lines = stdout.split('\n')
  t.equal(lines[0], `${server.uri}: randread, 4 KiB, depth 8, 1 connection`)
  t.match(lines[1], /^\d+\.\d\d s; CPU of this client: \d+\.\d\d s user, \d+\.\d\d s system$/)
  t.match(lines[3], /^ {2}reads +\S+ IOPS +\S+ [KMG]iB\/s {3}500 requests, 1\.95 MiB$/)
  t.match(lines[5], /^ {2}latency +min +mean +p50 +p90 +p99 +p99\.9 +max$/)
  t.match(lines[6], /^ {2}reads( +\S+ (ns|us|ms|s)){7}$/)
  t.match(stdout, /^ +\S+ [mun]?s \.\. +\S+ [mun]?s +\S+% {2}█+/m)
  t.ok((await contents()).equals(PATTERN), 'and nothing was written')
})

void t.test('bench - the report for programs adds up', async (t) => {
  const { server } = await servePattern(t)
  const report = await benchJson(
    t,
    server.uri,
    '--rw',
    'read',
    '--requests',
    '300',
    '--connections',
    '3',
    '--block-size',
    '8K'
  )
  t.match(report, { uri: server.uri, rw: 'read', interrupted: false })
  const { reads } = report
  t.same([reads.requests, reads.bytes, report.writes.requests], [300, 300 * 8192, 0])
  t.equal(
    reads.histogram.reduce((sum, { count }) => sum + count, 0),
    300
  )
  t.equal(
    report.series.intervals.reduce((sum, { requests }) => sum + requests, 0),
    300
  )
  t.ok(Math.abs(reads.iops * report.seconds - 300) < 0.001)
  const { min, mean, p50, p90, p99, max } = reads.latency_ns
  t.ok(
    min! > 0 && min! <= p50! && p50! <= p90! && p90! <= p99! && p99! <= max! && min! <= mean! && mean! <= max!
  )
  t.ok(reads.histogram[0]!.from_ns <= min! && reads.histogram.at(-1)!.to_ns > max!)
})

void t.test('bench - writes only where it may, and only with --allow-write', async (t) => {
  const { server, contents } = await servePattern(t)
  const unasked = ['write', 'randwrite', 'rw', 'randrw'].map((kind): [string[], RegExp] => [
    ['--rw', kind],
    /--allow-write/
  ])
  await allRefused(t, ['bench', server.uri], unasked, 2)
  t.ok((await contents()).equals(PATTERN), 'nothing was written')

  const range = ['--offset', '256K', '--size', '512K']
  const report = await benchJson(
    t,
    server.uri,
    '--allow-write',
    '--rw',
    'write',
    '--requests',
    '128',
    '--flush-every',
    '32',
    ...range
  )
  t.same([report.writes.requests, report.flushes.requests, report.reads.requests], [128, 4, 0])
  const after = await contents()
  const block = after.subarray(256 * 1024, 256 * 1024 + 4096)
  t.ok(
    after.subarray(0, 256 * 1024).equals(PATTERN.subarray(0, 256 * 1024)),
    'what is before the range is whole'
  )
  t.ok(after.subarray(768 * 1024).equals(PATTERN.subarray(768 * 1024)), 'and what is behind it')
  for (let at = 256 * 1024; at < 768 * 1024; at += 4096) {
    if (!after.subarray(at, at + 4096).equals(block)) t.fail(`the block at ${at} was not written`)
  }
  t.ok(new Set(block).size > 200, 'with bytes that do not compress')
})

void t.test('bench - a mix of reads and writes', async (t) => {
  const { server } = await servePattern(t)
  const report = await benchJson(
    t,
    server.uri,
    '--allow-write',
    '--rw',
    'randrw',
    '--mix',
    '20',
    '--requests',
    '2000',
    '--connections',
    '2'
  )
  t.equal(report.mix, 20)
  t.equal(report.reads.requests + report.writes.requests, 2000)
  t.ok(report.reads.requests > 300 && report.reads.requests < 500, `${report.reads.requests} reads`)
})

void t.test('bench - for some time, after a warm-up that does not count', async (t) => {
  const { server } = await servePattern(t)
  const report = await benchJson(t, server.uri, '--runtime', '0.3', '--warmup', '0.1')
  t.ok(report.seconds >= 0.299, `${report.seconds} s`)
  t.ok(report.reads.requests > 0)
  t.ok(report.cpu_seconds.user > 0)
})

void t.test('bench - draws a picture', async (t) => {
  const { server } = await servePattern(t)
  const file = path.join(tempDir(t), 'load.svg')
  const { status } = await mqnbd(t, 'bench', server.uri, '--runtime', '0.5', '--svg', file)
  t.equal(status, 0)
  const svg = parseXml(fs.readFileSync(file, 'utf8'))
  t.equal(svg.name, 'svg')
  t.ok(elementsOf(svg, 'polyline').length + elementsOf(svg, 'circle').length >= 4)
})

void t.test('bench - Ctrl-C ends it early and prints what there is', async (t) => {
  const { server, contents } = await servePattern(t)
  const launched = new Launched(t, process.execPath, [MQNBD, ...endlessWrites(server), '--json'])
  await waitFor('the first write', async () => !(await contents()).equals(PATTERN))
  launched.child.kill('SIGINT')
  t.equal((await within('its end', launched.exit)).status, 0)
  const report = JSON.parse(launched.stdout) as Report
  t.equal(report.interrupted, true)
  t.ok(report.writes.requests > 0)
})

void t.test('bench - a server that goes away is told in one line', async (t) => {
  const { server, contents } = await servePattern(t)
  const bench = run(t, process.execPath, [MQNBD, ...endlessWrites(server)])
  await waitFor('the first write', async () => !(await contents()).equals(PATTERN))
  server.process.child.kill('SIGKILL')
  isRefusal(t, await bench, 1, /NBD_CMD_WRITE/, 'a lost connection')
})

const endlessWrites = (server: Mqnbd): string[] => [
  'bench',
  server.uri,
  '--rw',
  'randwrite',
  '--allow-write',
  '--runtime',
  '3600'
]

void t.test('bench - what cannot be is told in one line', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M', '-r'])
  await allRefused(
    t,
    ['bench', server.uri],
    [
      [['--block-size', '64M'], /--block-size.*33554432/],
      [['--rw', 'write', '--allow-write'], /read-only/]
    ],
    1
  )
  await allRefused(t, ['bench'], [[[], /URI/]], 2)
})

void t.test('bench - a server that is not there', async (t) => {
  isRefusal(t, await mqnbd(t, 'bench', 'nbd+unix:///?socket=/nonexistent/s'), 1, /nonexistent/, 'no server')
})
