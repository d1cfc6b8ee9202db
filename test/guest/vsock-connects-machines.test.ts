import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { KernelGuest, requiresGuest } from '../helpers/kernel-guest.ts'
import { builtModule } from '../helpers/mqnbd.ts'
import { TestCA } from '../helpers/tls-certs.ts'

const URI = 'nbd+vsock://1'
const random = (file: string, MiB: number): string =>
  `dd if=/dev/urandom of=${file} bs=1M count=${MiB} 2>dd.err`

void t.test(
  'vsock - a machine that talks to itself',
  requiresGuest('nbdinfo', 'qemu-io', 'nbdkit'),
  async (t) => {
    const guest = await KernelGuest.boot(t, ['vsock_loopback'])
    await guest.runOk(random('disk.img', 32))
    const server = await guest.serve('disk.img -t --vsock --iothreads 2')

    await t.test('the ready line names the address', async (t) => {
      t.match(await guest.runOk(`cat serve-${server}`), / at nbd\+vsock:\/\/1:10809$/)
      t.equal(await guest.runOk(`nbdinfo --size ${URI}`), String(32 << 20), 'libnbd finds it there')
    })

    await t.test('what is copied out and in is the same, over several connections', async () => {
      await guest.runOk(`mqnbd copy --connections=4 ${URI} out.img; cmp disk.img out.img`)
      await guest.runOk(
        `${random('in.img', 32)}; mqnbd copy --flush in.img ${URI}:10809/; cmp disk.img in.img`
      )
    })

    await t.test('what QEMU writes', async () => {
      const options = 'driver=nbd,server.type=vsock,server.cid=1,server.port=10809'
      await guest.runOk(`
        qemu-io --image-opts -c 'write -P 5 1M 2M' -c 'read -P 5 1M 2M' -c flush ${options}
        cp disk.img copy.img
        mqnbd compare copy.img ${URI}`)
    })

    await t.test('a server forwards from nbdkit', async () => {
      const far = 'nbd,node-name=far,server.type=vsock,server.cid=1,server.port=10901'
      await guest.runOk('nbdkit --vsock -p 10901 file in.img')
      await guest.serve(`--blockdev ${far} --export nbd,id=e,node-name=far,name=far -t -k s`)
      await guest.runOk("mqnbd compare in.img 'nbd+unix:///far?socket=/run/s'")
    })

    await t.test('with TLS', requiresGuest('certtool'), async (t) => {
      const { folder } = TestCA.make(t).server().client()
      fs.cpSync(folder, path.join(guest.folder, 'tls'), { recursive: true })
      await guest.runOk(random('secret.img', 8))
      const secure = await guest.serve('secret.img -r -t --vsock -p 0 --tls-creds /run/host/tls')
      const uri = / at (nbds\+vsock:\/\/1:\d+)$/.exec(await guest.runOk(`cat serve-${secure}`))?.[1]
      await guest.runOk(`mqnbd copy '${uri}?tls-certificates=/run/host/tls' out.img; cmp secret.img out.img`)
    })

    await t.test('what cannot be is told in one line', async (t) => {
      const cases: [command: string, reason: RegExp][] = [
        ['mqnbd info nbd+vsock://1:1234', /cannot open 'nbd\+vsock:\/\/1:1234': connection refused/],
        ['mqnbd info nbd+vsock://77:1234', /there is no way to such a machine by vsock/],
        ['mqnbd serve memory:1M --vsock', /cannot listen on vsock port 10809: address already in use/]
      ]
      for (const [command, reason] of cases) isRefusal(t, await guest.run(command), 1, reason, command)
    })

    await t.test('connecting can be given up', async (t) => {
      fs.writeFileSync(
        path.join(guest.folder, 'give-up.mjs'),
        `import { connectSocket } from '${builtModule('shared/io/connect.js')}'
         const signal = AbortSignal.abort()
         await connectSocket({ cid: 1, port: 10809 }, 5000, signal).catch((error) => console.log(error.message))`
      )
      t.equal(await guest.runOk(`'${process.execPath}' host/give-up.mjs`), 'connecting was given up')
    })
  }
)
