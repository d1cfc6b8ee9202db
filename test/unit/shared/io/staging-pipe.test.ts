import * as fs from 'node:fs'
import t from 'tap'
import { StagingPipe, UNREADABLE } from '../../../../shared/io/staging-pipe.ts'
import { imageOf, KiB, MiB } from '../../../helpers/files.ts'
import { waitFor } from '../../../helpers/wait-for.ts'
import type { Test } from '../../../helpers/requires.ts'

const openFds = (): number => fs.readdirSync('/proc/self/fd').length

function open(t: Test, bytes: Buffer): { fd: number; file: string } {
  const file = imageOf(t, bytes)
  const fd = fs.openSync(file, 'r')
  t.teardown(() => fs.closeSync(fd))
  return { fd, file }
}

function take(t: Test): StagingPipe {
  const pipe = StagingPipe.take()
  if (!pipe) throw new Error('no pipe')
  t.teardown(() => pipe.close())
  return pipe
}

function takeOut(pipe: StagingPipe, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length;) at += fs.readSync(pipe.readFd, bytes, at, length - at, null)
  pipe.taken(length)
  return bytes
}

void t.test('stage - parts of a file come in their order, and whole when the file is cut off', async (t) => {
  const bytes = Buffer.from(Uint32Array.from({ length: 64 * KiB }, (_, i) => i).buffer)
  const { fd, file } = open(t, bytes)
  const pipe = take(t)
  t.equal(pipe.stage(fd, 100_001, 70_000), 70_000)
  t.equal(pipe.stage(fd, 4096, 8192), 8192)
  fs.truncateSync(file, 0)
  t.notOk(pipe.isEmpty)
  t.ok(takeOut(pipe, 70_000).equals(bytes.subarray(100_001, 170_001)))
  t.ok(takeOut(pipe, 8192).equals(bytes.subarray(4096, 12_288)))
  t.ok(pipe.isEmpty)
})

void t.test('hasRoom - counts pages, as the pipe does, until it is empty', async (t) => {
  const { fd } = open(t, Buffer.alloc(2 * MiB, 1))
  const pipe = take(t)
  t.ok(pipe.hasRoom(0, MiB))
  t.notOk(pipe.hasRoom(1, MiB), 'a page more')
  t.equal(pipe.stage(fd, 4095, 2), 2)
  t.notOk(pipe.hasRoom(0, MiB - 4096), 'two pages are used')
  t.ok(pipe.hasRoom(0, MiB - 8192))
  t.equal(pipe.stage(fd, 0, MiB - 8192), MiB - 8192)
  t.notOk(pipe.hasRoom(0, 1))
  t.equal(pipe.stage(fd, 0, 1), 0)
  takeOut(pipe, MiB - 8190)
  t.ok(pipe.hasRoom(0, MiB))
})

void t.test('stage - stops where the file ends', async (t) => {
  const { fd } = open(t, Buffer.alloc(5000, 1))
  const pipe = take(t)
  t.equal(pipe.stage(fd, 4000, 4000), 1000)
  t.equal(pipe.stage(fd, 8000, 4000), 0)
  t.ok(takeOut(pipe, 1000).equals(Buffer.alloc(1000, 1)))
})

void t.test('stage - what cannot be read is told, and what cannot be taken is none', async (t) => {
  const pipe = take(t)
  t.equal(pipe.stage(-1, 0, 1), UNREADABLE)
  const memory = fs.openSync('/proc/self/mem', 'r')
  t.teardown(() => fs.closeSync(memory))
  t.equal(pipe.stage(memory, 0, 4096), 0)
  t.ok(pipe.isEmpty)
})

void t.test('take - an empty one is used again, and a closed one leaves nothing open', async (t) => {
  const before = openFds()
  const pipe = StagingPipe.take()
  t.equal(openFds(), before + 2)
  pipe?.give()
  t.equal(StagingPipe.take(), pipe)
  t.equal(openFds(), before + 2)
  pipe?.close()
  t.equal(openFds(), before)
})

void t.test('give - what nobody needs any more is closed', async (t) => {
  const before = openFds()
  const [one, other] = [StagingPipe.take(), StagingPipe.take()]
  t.equal(openFds(), before + 4)
  one?.give()
  other?.give()
  await waitFor('descriptors to be closed', () => openFds() === before)
  t.ok(take(t).isEmpty, 'there is a new one')
})

void t.test('take - there is an end to it', async (t) => {
  const pipes: StagingPipe[] = []
  t.teardown(() => pipes.forEach((pipe) => pipe.close()))
  for (let pipe = StagingPipe.take(); pipe; pipe = StagingPipe.take()) pipes.push(pipe)
  t.equal(pipes.length, 32)
})
