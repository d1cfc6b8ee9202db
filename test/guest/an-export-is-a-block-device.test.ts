import t from 'tap'
import { isRefusal } from '../helpers/command-line.ts'
import { KernelGuest, requiresGuest } from '../helpers/kernel-guest.ts'

const URI = 'nbd+unix:///?socket=/run/s'
const programs = ['mkfs.ext4', 'e2fsck', 'setpriv']

/** What the kernel says of a device. */
const facts = (names: string): string => `cd /sys/block/nbd0; grep . ${names}; cd /run`

void t.test('attach, detach - with a kernel that has NBD devices', requiresGuest(...programs), async (t) => {
  const guest = await KernelGuest.boot(t, ['nbd'])
  await guest.runOk('truncate -s 64M disk.img')
  const server = await guest.serve('disk.img -t -k s')

  await t.test('a file system is made, written and read, over four connections', async (t) => {
    const sockets = `ls -l /proc/${server}/fd | grep -c socket:`
    const idle = Number(await guest.runOk(sockets))
    t.equal(await guest.runOk(`mqnbd attach /dev/nbd0 ${URI} -C 4`), 'mqnbd: attached /dev/nbd0')
    t.equal(await guest.runOk(sockets), `${idle + 4}`, 'connections')
    t.same(
      (await guest.runOk(facts('size ro queue/logical_block_size queue/write_cache'))).split('\n'),
      ['size:131072', 'ro:0', 'queue/logical_block_size:512', 'queue/write_cache:write back'],
      'size in sectors, and what it may do'
    )
    isRefusal(
      t,
      await guest.run(`mqnbd attach /dev/nbd0 ${URI}`),
      1,
      /cannot attach \/dev\/nbd0: it is in use/,
      'a second time'
    )

    await guest.runOk(`
      mkfs.ext4 -q /dev/nbd0
      mount /dev/nbd0 mnt
      for i in 1 2 3 4; do dd if=/dev/urandom of=mnt/$i bs=64k count=80 2>dd.err & done; wait
      sync
      sha256sum mnt/[1-4] >sums
      umount mnt`)
    await guest.runOk('e2fsck -fn disk.img 2>&1')
    // Nothing of it is cached any more: it comes from the server.
    t.equal(
      await guest.runOk('echo 3 >/proc/sys/vm/drop_caches; mount /dev/nbd0 mnt; sha256sum -c --quiet sums'),
      ''
    )

    const before = Number(await guest.runOk('rm mnt/[1-4]; sync; du -k disk.img | cut -f 1'))
    await guest.runOk('fstrim mnt; umount mnt')
    const after = Number(await guest.runOk('du -k disk.img | cut -f 1'))
    t.ok(before > 20_000 && after < 8_000, `fstrim gives back what files had: ${before} KiB, then ${after}`)
    await guest.runOk('dd if=/dev/urandom of=/dev/nbd0 bs=1M count=8 oflag=direct 2>dd.err')
    await guest.runOk('blkdiscard -o 1M -l 2M /dev/nbd0; cmp -n 2097152 -i 1048576:0 disk.img /dev/zero')

    t.equal(await guest.runOk('mqnbd detach /dev/nbd0'), '')
    t.equal(await guest.runOk('cat /sys/block/nbd0/size'), '0')
    t.not((await guest.run('test -e /sys/block/nbd0/pid')).status, 0)
    await guest.runOk(`until [ $(${sockets}) -eq ${idle} ]; do sleep 0.05; done`)
    t.match(await guest.runOk(`cat serve-${server}`), /^mqnbd: serving .*$/, 'the server has nothing to tell')
    isRefusal(t, await guest.run('mqnbd detach /dev/nbd0'), 1, /\/dev\/nbd0 is not attached/, 'once more')
  })

  await t.test('block sizes, and devices that are only read', async (t) => {
    const names = 'size ro queue/logical_block_size'

    await guest.runOk(`mqnbd attach /dev/nbd0 ${URI} --read-only --block-size 4K`)
    t.equal(await guest.runOk(facts(names)), 'size:131072\nro:1\nqueue/logical_block_size:4096')
    t.match(
      (await guest.run('dd if=/dev/zero of=/dev/nbd0 bs=4k count=1')).stderr,
      /failed to open|not permitted/
    )
    await guest.runOk('cmp disk.img /dev/nbd0')
    // The other device, from a server that lets nobody write.
    await guest.runOk('mqnbd detach nbd0; cp disk.img other.img')
    await guest.serve('other.img -r -t -k r')
    await guest.runOk('mqnbd attach nbd1 nbd+unix:///?socket=/run/r')
    t.equal(await guest.runOk('cat /sys/block/nbd1/ro; cmp other.img /dev/nbd1'), '1')
    t.equal(await guest.runOk('cat /sys/block/nbd0/size'), '0')
  })

  await t.test('what cannot be is told in one line', async (t) => {
    const cases: [command: string, reason: RegExp][] = [
      [`setpriv --bounding-set=-sys_admin mqnbd attach /dev/nbd0 ${URI}`, /only root may do that/],
      ['mqnbd attach /dev/nbd0 nbd+unix:///?socket=/run/none', /cannot open .*: no such file/],
      ['mqnbd attach /dev/nbd0 nbd+unix:///other?socket=/run/s', /cannot open .*other/]
    ]
    for (const [command, reason] of cases) isRefusal(t, await guest.run(command), 1, reason, command)
    t.equal(await guest.runOk('cat /sys/block/nbd0/size'), '0')
  })
})
