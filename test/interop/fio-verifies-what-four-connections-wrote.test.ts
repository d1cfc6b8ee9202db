import t from 'tap'
import { endpoints } from '../helpers/endpoints.ts'
import { emptyImage, MiB } from '../helpers/files.ts'
import { fio } from '../helpers/fio.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { requires } from '../helpers/requires.ts'

const JOBS = 4
const AREA = 16 * MiB

/** Each job has an area of its own; the sizes of its requests are random, and so is their order. */
const job = [
  '--name=verify',
  `--numjobs=${JOBS}`,
  `--size=${AREA}`,
  `--offset_increment=${AREA}`,
  '--bsrange=512-256k',
  '--bs_unaligned',
  '--iodepth=16',
  '--verify=crc32c',
  '--verify_fatal=1'
]

for (const [where, address] of Object.entries(endpoints)) {
  void t.test(`fio - 4 jobs verify what they wrote, ${where}`, requires('fio'), async (t) => {
    const image = emptyImage(t, JOBS * AREA)
    const server = await Mqnbd.serve(t, [image, '--iothreads', '2', '--log-level', 'info', ...address])
    const jobs = await fio(
      t,
      ...job,
      '--rw=randwrite',
      '--ioengine=nbd',
      `--uri=${server.uri}`,
      '--end_fsync=1'
    )
    t.equal(jobs.length, JOBS)
    for (const { write, read } of jobs) {
      t.ok(write.io_bytes > 0.9 * AREA, `${write.total_ios} writes of ${write.io_bytes} bytes`)
      t.equal(read.total_ios, write.total_ios, 'each of which was read back')
    }
    const connections = server.process.stderr.match(/client uses an export/g) ?? []
    t.ok(connections.length >= JOBS, `${connections.length} connections`)
    t.same(await server.process.end(), { status: 0, signal: null })

    // The same numbers come out of its random generator again, so it knows what must be where.
    const file = await fio(
      t,
      ...job,
      '--rw=randwrite',
      '--ioengine=psync',
      `--filename=${image}`,
      '--verify_only'
    )
    t.ok(
      file.every(({ read }, i) => read.total_ios === jobs[i]!.read.total_ios),
      'and the same is in the file'
    )
  })
}

void t.test('fio - reads, writes and flushes mixed, 4 connections', requires('fio'), async (t) => {
  const server = await Mqnbd.serve(t, [`memory:${JOBS * AREA}`, '--iothreads', '2'])
  const mixed = ['--rw=randrw', '--rwmixread=60', '--fsync=32', '--ioengine=nbd', `--uri=${server.uri}`]
  for (const { read, write } of await fio(t, ...job, ...mixed)) {
    t.ok(read.total_ios > 50 && write.total_ios > 20, `${read.total_ios} reads, ${write.total_ios} writes`)
  }
})
