import { spawnSync } from 'node:child_process'
import t from 'tap'
import { workerExecArgv } from '../../../../shared/aio/worker-exec-argv.ts'

void t.test('workerExecArgv - a program from standard input loads modules by the same options', async (t) => {
  t.equal(workerExecArgv(['--import', 'tsx', '--single-threaded-gc']), undefined)
  t.strictSame(
    workerExecArgv([
      '--input-type=module',
      '--import',
      'a',
      '--require=b',
      '-C',
      'c',
      '--trace-gc',
      '-e',
      '1'
    ]),
    ['--import', 'a', '--require=b', '-C', 'c']
  )
})

const iothread = new URL('../../../../shared/iothread/io-thread.js', import.meta.url).href
const code = `
  const { IOThread } = await import('${iothread}')
  await (await IOThread.start('io0')).stop()
  console.log('ended')`

for (const options of [['--input-type=module'], ['--input-type=module', '--single-threaded-gc']]) {
  void t.test(`IOThread - starts in a program that runs with ${options.join(' ')}`, async (t) => {
    const ran = spawnSync(process.execPath, [...options, '-e', code], { encoding: 'utf8', timeout: 60_000 })
    t.equal(ran.stderr, '')
    t.equal(ran.stdout, 'ended\n')
  })
}

void t.test('IOThread - starts in a program that runs with options of V8', async (t) => {
  const script = `import('${iothread}').then(async ({ IOThread }) => {
    await (await IOThread.start('io0')).stop()
    console.log('ended')
  })`
  const options = ['--single-threaded-gc', '--max-old-space-size=200', '-e', script]
  const ran = spawnSync(process.execPath, options, { encoding: 'utf8', timeout: 60_000 })
  t.equal(ran.stderr, '')
  t.equal(ran.stdout, 'ended\n')
})
