import t from 'tap'
import { KernelGuest, requiresGuest } from '../helpers/kernel-guest.ts'

for (const [name, option] of [
  ['netlink', ''],
  ['ioctls', '-nonetlink']
] as const) {
  void t.test(
    `nbd-client - three connections, by ${name}`,
    requiresGuest('nbd-client', 'mkfs.ext4', 'e2fsck'),
    async (t) => {
      const guest = await KernelGuest.boot(t, ['nbd'])
      await guest.runOk('truncate -s 32M disk.img')
      await guest.serve('disk.img -t -k s')
      await guest.runOk(`
        nbd-client -unix s /dev/nbd0 -C 3 ${option} >client 2>&1
        until [ $(cat /sys/block/nbd0/size) -eq 65536 ]; do sleep 0.05; done`)
      await guest.runOk(`
        mkfs.ext4 -q /dev/nbd0
        mount /dev/nbd0 mnt
        for i in 1 2 3; do dd if=/dev/urandom of=mnt/$i bs=64k count=40 2>dd.err & done; wait
        sha256sum mnt/[1-3] >sums
        umount mnt
        echo 3 >/proc/sys/vm/drop_caches
        mount /dev/nbd0 mnt
        sha256sum -c --quiet sums
        umount mnt
        nbd-client -d /dev/nbd0
        e2fsck -fn disk.img`)
      t.equal(await guest.runOk('cat /sys/block/nbd0/size'), '0')
    }
  )
}
