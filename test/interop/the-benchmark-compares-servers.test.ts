import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Report } from '../bench/servers/results.ts'
import { runOk } from '../helpers/launched.ts'
import { findProgram, requires } from '../helpers/requires.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { parseXml } from '../helpers/xml.ts'

const BENCH = fileURLToPath(new URL('../bench/main.js', import.meta.url))
// The limit is compiled.
const SERVERS = ['mqnbd-1', 'nbdkit', ...(findProgram('cc') ? ['limit'] : [])]
const CELLS = ['unix/randread-4k-16', 'unix/write-256k']

const needs = requires('fio', 'nbdcopy', 'certtool', 'nbdkit')

void t.test('bench servers - a moment of two cells, as JSON, Markdown and a picture', needs, async (t) => {
  const folder = tempDir(t)
  const file = (name: string): string => path.join(folder, name)
  const outputs = ['json', 'svg', 'markdown'].flatMap((kind) => [`--${kind}`, file(kind)])
  const which = [
    '--servers',
    'mqnbd-1,nbdkit,limit',
    '--cells',
    `^(${CELLS.join('|')})$`,
    '--peers',
    'installed'
  ]
  const printed = await runOk(t, process.execPath, [BENCH, 'servers', '--quick', ...which, ...outputs])

  const report = JSON.parse(fs.readFileSync(file('json'), 'utf8')) as Report
  t.match(report.versions, { nbdkit: /^\d+\.\d+/ })
  t.strictSame(
    report.cells.map(({ name }) => name),
    CELLS
  )
  for (const { name, servers, best, least } of report.cells) {
    t.strictSame([best, least], ['nbdkit', 'nbdkit'], `${name}: mqnbd and the limit are none of the others`)
    t.strictSame(
      servers.map((server) => server.name),
      SERVERS
    )
    const other = servers.find((server) => server.name === best)!
    for (const server of servers) {
      const what = `${name} of ${server.name}`
      t.ok(server.rate > 0 && server.rates.length === 1, `${what}: served something`)
      t.ok(
        server.cpu >= 0 && Number.isFinite(server.cpu),
        `${what}: processor time for a unit: ${server.cpu}`
      )
      t.ok(server.memory > 2 ** 19 && server.memory < 2 ** 30, `${what}: bytes: ${server.memory}`)
      t.equal(server.toBest, server.rate / other.rate, `${what}: beside the best`)
      t.match(printed, server.name)
    }
  }
  const marks = parseXml(fs.readFileSync(file('svg'), 'utf8')).children.filter(
    ({ name }) => name === 'circle'
  )
  t.equal(marks.length, SERVERS.length * (CELLS.length + 1), 'a mark for each, and those of the legend')
  t.match(fs.readFileSync(file('markdown'), 'utf8'), /^\| unix\/write-256k \| mqnbd-1 \| nbdkit \| x/m)
})
