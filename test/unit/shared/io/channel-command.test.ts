import * as fs from 'node:fs'
import t from 'tap'
import { Coroutine, type CoroutineFn } from '../../../../shared/coroutine/coroutine.ts'
import { QIOChannelCommand } from '../../../../shared/io/channel-command.ts'
import type { QIOChannel } from '../../../../shared/io/channel.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { waitFor, within } from '../../../helpers/wait-for.ts'
import { iovecs } from './channel-validator.ts'

const { O_RDONLY, O_WRONLY } = fs.constants

const shell = (script: string, flags?: number, endTimeoutMs?: number): Promise<QIOChannelCommand> =>
  QIOChannelCommand.spawn(['sh', '-c', script], flags, endTimeoutMs)

const runs = (pid: number): boolean => fs.existsSync(`/proc/${pid}`)

/** All that the program says, up to the end of its output. */
async function output(channel: QIOChannel): Promise<string> {
  let text = ''
  await Coroutine.start(function* (): CoroutineFn {
    const iov = iovecs(1, 1)
    while (yield* channel.readvAllEof(iov)) text += iov[0]!.memory.buffer.toString('latin1', 0, 1)
  })
  return text
}

void t.test('command: tells how the program ended', async (t) => {
  const failed = await shell('echo out; exit 3', O_RDONLY)
  t.equal(await within('the output', output(failed)), 'out\n')
  t.same(await within('the end', failed.exited), { code: 3, signal: null })
  await failed.close()
  const killed = await shell('kill -TERM $$')
  t.same(await within('the end', killed.exited), { code: null, signal: 'SIGTERM' })
  await killed.close()
})

void t.test('command: is open only in the directions that were asked for', async (t) => {
  const reader = await shell('cat; echo end', O_RDONLY)
  t.throws(() => reader.writev(iovecs(1, 1)), { kind: 'transport', message: /not open for writing/ })
  t.equal(await within('the output', output(reader)), 'end\n', 'its input was empty')
  await reader.close()
  const writer = await shell('cat', O_WRONLY)
  t.throws(() => writer.readv(iovecs(1, 1)), { kind: 'transport', message: /not open for reading/ })
  await within('the close', writer.close())
  t.same(await writer.exited, { code: 0, signal: null })
})

void t.test('command: the end of its input comes behind what was written', async (t) => {
  const channel = await shell('wc -c')
  await Coroutine.start(() => channel.writevAll(iovecs()))
  channel.shutdown('write')
  t.equal(Number(await within('the output', output(channel))), 250 * 4194)
  await channel.close()
})

void t.test('command: close waits for the program, and ends one that does not end', async (t) => {
  const polite = await shell('cat > /dev/null; exit 5')
  await within('the close', polite.close())
  t.same(await polite.exited, { code: 5, signal: null }, 'it had its time')

  // A shell of a machine that has much else to do is not quick with what it does at a signal.
  const stays = await shell('trap "exit 6" TERM; echo ready; while :; do sleep 0.01; done', undefined, 1000)
  await within(
    'its start',
    Coroutine.start(() => stays.readvAll(iovecs(1, 6)))
  )
  await within('the close', stays.close())
  t.same(await stays.exited, { code: 6, signal: null }, 'SIGTERM')
  t.notOk(runs(stays.pid))

  const stubborn = await shell('trap "" TERM; echo ready; while :; do sleep 0.01; done', undefined, 20)
  await within(
    'its start',
    Coroutine.start(() => stubborn.readvAll(iovecs(1, 6)))
  )
  await within('the close', stubborn.close())
  t.same(await stubborn.exited, { code: null, signal: 'SIGKILL' })
  t.notOk(runs(stubborn.pid))
})

void t.test('command: close does not wait for ever for a program that does not read', async (t) => {
  const channel = await QIOChannelCommand.spawn(['sleep', '1000'], O_WRONLY, 20)
  const writing = Coroutine.start(() => channel.writevAll(iovecs()))
  await Promise.all([
    t.rejects(writing, { kind: 'transport', message: /closed/ }),
    within('the close', channel.close())
  ])
  t.same(await channel.exited, { code: null, signal: 'SIGTERM' })
})

void t.test('command: what cannot be run is told in one line, and leaves nothing', async (t) => {
  const before = openDescriptors(process.pid).length
  await t.rejects(QIOChannelCommand.spawn(['/nowhere/program']), {
    kind: 'transport',
    message: '/nowhere/program: no such file or directory'
  })
  await t.rejects(QIOChannelCommand.spawn(['/etc/passwd']), {
    kind: 'transport',
    message: '/etc/passwd: permission denied'
  })
  await waitFor('the descriptors to be closed', () => openDescriptors(process.pid).length <= before)
  t.pass()
})

void t.test('command: programs get no end of the pipes of others', async (t) => {
  const first = await QIOChannelCommand.spawn(['cat'])
  const second = await QIOChannelCommand.spawn(['cat'])
  const pipesOf = (pid: number): string[] => [0, 1].map((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`))
  const its = openDescriptors(second.pid)
  for (const pipe of pipesOf(first.pid)) t.notOk(its.includes(pipe), pipe)
  for (const pipe of pipesOf(second.pid)) t.equal(its.filter((target) => target === pipe).length, 1, pipe)
  // So the first sees the end of its input although the second lives.
  await within('the close', first.close())
  t.same(await first.exited, { code: 0, signal: null })
  await second.close()
})
