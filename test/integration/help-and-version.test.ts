import * as fs from 'node:fs'
import t from 'tap'
import { serveOptions } from '../../server/cli/serve-options.ts'
import { MQNBD, mqnbd } from '../helpers/mqnbd.ts'

/** The one of the project, wherever its output was built. */
function packageVersion(): string {
  let url = new URL('package.json', `file://${MQNBD}`)
  while (!fs.existsSync(url)) url = new URL('../package.json', url)
  return (JSON.parse(fs.readFileSync(url, 'utf8')) as { version: string }).version
}

void t.test('--help - tells the commands', async (t) => {
  for (const option of ['--help', '-h']) {
    const { status, stdout, stderr } = await mqnbd(t, option)
    t.same({ status, stderr }, { status: 0, stderr: '' })
    t.match(stdout, /^mqnbd COMMAND/)
    t.match(stdout, /^ +mqnbd serve /m)
  }
})

void t.test('serve --help - tells each option with its letter', async (t) => {
  const { status, stdout, stderr } = await mqnbd(t, 'serve', '--help')
  t.same({ status, stderr }, { status: 0, stderr: '' })
  for (const [name, option] of Object.entries(serveOptions)) {
    const letter = 'alias' in option ? `-${option.alias}, ` : ''
    t.match(stdout, `${letter}--${name} `)
  }
})

void t.test('--version - tells that of the package', async (t) => {
  for (const option of ['--version', '-V']) {
    const { status, stdout, stderr } = await mqnbd(t, option)
    t.same({ status, stdout, stderr }, { status: 0, stdout: `${packageVersion()}\n`, stderr: '' })
  }
})
