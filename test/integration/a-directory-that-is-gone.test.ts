import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { run } from '../helpers/launched.ts'
import { MQNBD } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('working directory - that was removed is told in one line: status 1', async (t) => {
  // What tap preloads into programs wants a working directory, too.
  for (const args of [['serve', 'memory:1M'], ['info', 'nbd://localhost'], ['--help'], []]) {
    const folder = path.join(tempDir(t), 'gone')
    fs.mkdirSync(folder)
    const script = 'cd "$1" && rmdir "$1" && shift && exec env -u NODE_OPTIONS "$@"'
    const ran = await run(t, 'sh', ['-c', script, 'sh', folder, process.execPath, MQNBD, ...args])
    isRefusal(t, ran, 1, /working directory .*: no such file or directory/i, `mqnbd ${args.join(' ')}`)
  }
})
