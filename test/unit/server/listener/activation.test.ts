import { spawnSync } from 'node:child_process'
import * as path from 'node:path'
import t from 'tap'
import { activatedSockets, takeActivatedSockets } from '../../../../server/listener/activation.ts'
import { closeFd } from '../../../../shared/syscall/fd.ts'
import { listenUnix } from '../../../../shared/syscall/listen.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

const LISTEN_PID = String(process.pid)

void t.test('activatedSockets - what the variables say', async (t) => {
  t.equal(activatedSockets({}), 0)
  t.equal(activatedSockets({ LISTEN_PID, LISTEN_FDS: '2' }), 2)
  t.equal(activatedSockets({ LISTEN_PID }), 0)
  t.equal(activatedSockets({ LISTEN_PID: String(process.pid + 1), LISTEN_FDS: '2' }), 0)
  t.equal(activatedSockets({ LISTEN_FDS: '2' }), 0)
  for (const count of ['', '-1', '1x', '1025', '1e3'])
    t.throws(() => activatedSockets({ LISTEN_PID, LISTEN_FDS: count }), {
      message: `LISTEN_FDS: '${count}' is not a number of sockets from 0 to 1024`
    })
})

void t.test('takeActivatedSockets - those of another process are not passed on either', async (t) => {
  const env: NodeJS.ProcessEnv = { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'a', HOME: '/' }
  t.strictSame(takeActivatedSockets(env), [])
  t.strictSame(env, { HOME: '/' })
})

void t.test('takeActivatedSockets - a program that is run gets nothing of it', async (t) => {
  const socket = listenUnix(path.join(tempDir(t), 's'))
  t.teardown(() => closeFd(socket))
  const module = new URL('../../../../server/listener/activation.js', import.meta.url).href
  const code = `
    process.env.LISTEN_PID = String(process.pid)
    import(${JSON.stringify(module)}).then(({ takeActivatedSockets }) => {
      const fds = takeActivatedSockets()
      const { spawnSync } = require('node:child_process')
      const { stdout } = spawnSync('sh', ['-c', 'echo "$LISTEN_PID$LISTEN_FDS$LISTEN_FDNAMES"; ls /proc/$$/fd'])
      console.log(JSON.stringify({ fds, printed: String(stdout).split('\\n').filter(Boolean) }))
    })`
  const { stdout } = spawnSync(process.execPath, ['-e', code], {
    stdio: ['ignore', 'pipe', 'inherit', socket],
    env: { ...process.env, LISTEN_FDS: '1', LISTEN_FDNAMES: 'nbd' },
    encoding: 'utf8'
  })
  t.match(JSON.parse(stdout), { fds: [3], printed: ['0', '1', '2'] })
})
