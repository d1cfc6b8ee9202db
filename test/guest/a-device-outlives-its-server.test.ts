import t from 'tap'
import { KernelGuest, requiresGuest } from '../helpers/kernel-guest.ts'

const URI = 'nbd+unix:///?socket=/run/s'

void t.test('attach --persist - a server that comes back has lost no request', requiresGuest(), async (t) => {
  const guest = await KernelGuest.boot(t, ['nbd'])
  await guest.runOk('truncate -s 16M disk.img; dd if=/dev/urandom of=data bs=1M count=16 2>dd.err')
  const first = await guest.serve('disk.img -t -k s')
  await guest.runOk(`
    mqnbd attach /dev/nbd0 ${URI} -C 2 --persist --timeout 2 >attach 2>&1 &
    echo $! >attach.pid
    until grep -q ^mqnbd: attach; do sleep 0.05; done
    grep -qx 'mqnbd: attached /dev/nbd0' attach`)
  // Killed while it is written to. What was on its way is sent again when its time is over.
  await guest.runOk(`
    (dd if=data of=/dev/nbd0 bs=4k oflag=direct conv=fsync 2>dd.err; echo $? >written) &
    until [ $(du -k disk.img | cut -f 1) -gt 1024 ]; do sleep 0.01; done
    kill -9 ${first}
    [ ! -s written ]`)
  await guest.serve('disk.img -t -k s')
  t.equal(await guest.runOk('until [ -s written ]; do sleep 0.05; done; cat written'), '0')
  await guest.runOk('cmp data disk.img')
  // Reads go over the new connections as well.
  await guest.runOk('echo 3 >/proc/sys/vm/drop_caches; cmp data /dev/nbd0')
  await guest.runOk('mqnbd detach /dev/nbd0; until [ ! -e /proc/$(cat attach.pid) ]; do sleep 0.05; done')
  t.match(await guest.runOk('cat attach'), /^mqnbd: attached \/dev\/nbd0$/m)
})

void t.test('attach --timeout - a request that takes longer fails', requiresGuest(), async (t) => {
  const guest = await KernelGuest.boot(t, ['nbd'])
  const server = await guest.serve('memory:16M -t -k s')
  await guest.runOk(`mqnbd attach /dev/nbd0 ${URI} --timeout 1; kill -STOP ${server}`)
  const { status, stderr } = await guest.run('dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct')
  t.same({ status, why: /error reading.*: (.*)/.exec(stderr)?.[1] }, { status: 1, why: 'Input/output error' })
})
