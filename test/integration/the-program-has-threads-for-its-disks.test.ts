import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { connect } from '../../client/index.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { threadCount } from '../helpers/proc.ts'
import { tempDir } from '../helpers/temp-dir.ts'
import { waitFor } from '../helpers/wait-for.ts'

const POOL_SIZE = 16

/** A server whose pool has started. @param environment arguments of env(1) */
async function serverWithPool(t: Test, ...environment: string[]): Promise<number> {
  const file = path.join(tempDir(t), 'disk.img')
  fs.writeFileSync(file, Buffer.alloc(64 * 1024))
  const server = await Mqnbd.serve(t, [file], { under: ['env', ...environment] })
  const disk = await connect(server.uri)
  await disk.write(0, Buffer.alloc(512, 1))
  await disk.flush()
  await disk.close()
  return server.process.child.pid!
}

void t.test("libuv's pool - has the size that the program sets, or its user", async (t) => {
  const [own, users] = await Promise.all([
    serverWithPool(t, '-u', 'UV_THREADPOOL_SIZE'),
    serverWithPool(t, 'UV_THREADPOOL_SIZE=1')
  ])
  await waitFor('the difference', () => threadCount(own) - threadCount(users) === POOL_SIZE - 1)
  t.pass()
})
