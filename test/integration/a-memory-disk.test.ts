import t from 'tap'
import { MiB } from '../helpers/files.ts'
import { nbdinfoMap } from '../helpers/image-map.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { residentBytes } from '../helpers/proc.ts'
import { qemuIo } from '../helpers/qemu-io.ts'
import { requires } from '../helpers/requires.ts'

const GiB = 1024 * MiB

void t.test(
  'memory disk - is as large as was asked for, and takes next to nothing',
  requires('nbdinfo'),
  async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1G'])
    t.same(await nbdinfoMap(t, server.uri), [{ offset: 0, length: GiB, zero: true, data: false }])
    const resident = residentBytes(server.process.pid)
    t.ok(resident < 250 * MiB, `the server occupies ${resident} bytes`)
  }
)

void t.test(
  'memory disk - takes what is written, and gives it back',
  requires('qemu-io', 'nbdinfo'),
  async (t) => {
    const server = await Mqnbd.serve(t, ['memory:1G'])
    await qemuIo(t, server.uri, 'write -P 7 512M 2M', 'write -P 8 1023M 1M', 'flush')
    await qemuIo(t, server.uri, 'read -P 0 0 512M', 'read -P 7 512M 2M', 'read -P 8 1023M 1M')
    t.same(await nbdinfoMap(t, server.uri), [
      { offset: 0, length: 512 * MiB, zero: true, data: false },
      { offset: 512 * MiB, length: 2 * MiB, zero: false, data: true },
      { offset: 514 * MiB, length: 509 * MiB, zero: true, data: false },
      { offset: 1023 * MiB, length: MiB, zero: false, data: true }
    ])
    await qemuIo(t, server.uri, 'discard 512M 2M', 'write -z -u 1023M 1M')
    t.same(await nbdinfoMap(t, server.uri), [{ offset: 0, length: GiB, zero: true, data: false }])
    await t.resolves(qemuIo(t, server.uri, 'read -P 0 512M 2M', 'read -P 0 1023M 1M'))
  }
)
