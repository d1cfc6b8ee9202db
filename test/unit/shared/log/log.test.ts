import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { LOG_LEVELS } from '../../../../shared/log/log.ts'
import { run } from '../../../helpers/launched.ts'

const LOG = new URL('../../../../shared/log/log.js', import.meta.url).href
const LIMIT_MS = 30_000

interface Written {
  level: number
  time: number
  pid: number
  msg: string
  [field: string]: unknown
}

/** Lines on standard error of a process that runs `program`, which has `log` and `setLogLevel`. */
async function linesOf(t: Test, program: string, shell = ''): Promise<Written[]> {
  const text = `import { log, setLogLevel } from '${LOG}'\n${program}`
  const node = `exec '${process.execPath}' --input-type=module -e "$0"`
  const { status, stderr } = await run(t, 'sh', ['-c', `${shell}${node}`, text], LIMIT_MS)
  t.equal(status, 0, stderr)
  return stderr
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Written)
}

void t.test('log - a line has level, time, process id, fields and text', async (t) => {
  const [line, ...more] = await linesOf(t, `log.warn({ peer: 'p', err: new Error('why') }, 'what')`)
  t.match(line, { level: 40, time: Number, pid: Number, peer: 'p', msg: 'what' })
  t.match(line, { err: { message: 'why', stack: /^Error: why\n/ } })
  t.same(more, [])
})

void t.test('log - of each level, and of all below it', async (t) => {
  const speaking = LOG_LEVELS.filter((level) => level !== 'silent')
  const calls = speaking.map((level) => `log.${level}('${level}')`).join(';')
  for (const [i, level] of [...speaking, 'silent'].entries()) {
    const lines = await linesOf(t, `setLogLevel('${level}'); ${calls}`)
    t.same(
      lines.map(({ msg }) => msg),
      level === 'silent' ? [] : speaking.slice(0, i + 1),
      level
    )
  }
})

void t.test('log - pino is loaded for a line, and not for none', async (t) => {
  const loaded = `Object.keys(createRequire('${fileURLToPath(LOG)}').cache).some((file) => /\\bpino\\b/.test(file))`
  const lines = await linesOf(
    t,
    `import { createRequire } from 'node:module'
    log.info('not told')
    const before = ${loaded}
    log.warn('told')
    log.warn({ before, after: ${loaded} }, 'loaded')`
  )
  t.match(lines, [{ msg: 'told' }, { before: false, after: true }])
})

void t.test('log - tells without a descriptor left', async (t) => {
  const lines = await linesOf(
    t,
    `import * as fs from 'node:fs'
    const open = []
    try { for (;;) open.push(fs.openSync('/dev/null')) } catch {}
    log.error({ err: new Error('EMFILE') }, 'cannot accept a client')
    for (const fd of open) fs.closeSync(fd)`,
    'ulimit -n 64; '
  )
  t.match(lines, [{ level: 50, time: Number, pid: Number, err: 'EMFILE', msg: 'cannot accept a client' }])
})
