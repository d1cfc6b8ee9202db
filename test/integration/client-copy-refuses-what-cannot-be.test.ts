import * as fs from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { allRefused } from '../helpers/command-line.ts'
import { emptyImage, imageOf, MiB, sameBytes } from '../helpers/files.ts'
import { mqnbd, Mqnbd } from '../helpers/mqnbd.ts'
import { tempDir } from '../helpers/temp-dir.ts'

void t.test('copy - what cannot be is refused before anything is written', async (t) => {
  const server = await Mqnbd.serve(t, ['memory:1M'])
  const readOnly = await Mqnbd.serve(t, [imageOf(t, Buffer.alloc(MiB)), '-r', '-f', 'raw'])
  const [big, full] = [emptyImage(t, 2 * MiB), imageOf(t, Buffer.alloc(MiB, 'old'))]
  const cases: [string[], RegExp][] = [
    [
      [big, server.uri],
      /cannot copy '.*' to 'nbd.*': that has only 1048576 bytes of the 2097152 that are needed/
    ],
    [[full, readOnly.uri], /cannot copy to 'nbd.*': the export is read-only/],
    [[full, full], /cannot copy '.*' to '.*': it is the same file/],
    [[path.join(tempDir(t), 'none'), full], /cannot open '.*none': no such file or directory/],
    [['nbd+unix:///?socket=/nonexistent', full], /cannot open 'nbd.*': no such file or directory/],
    [[full, tempDir(t)], /cannot open '.*': illegal operation on a directory/],
    [[full, '/nonexistent/file'], /cannot open '.*': no such file or directory/],
    [['-R', '0', full, 'null:'], /--requests: '0' is not a number from 1 to 1024/],
    [['-C', 'many', full, 'null:'], /--connections: 'many' is not a number/],
    [['--reconnect-delay=soon', full, 'null:'], /--reconnect-delay: 'soon' is not a number/],
    [['-S', '1000', full, 'null:'], /--sparse: '1000' is not a power of 2 from 512 to 1048576/],
    [['--request-size=1', full, 'null:'], /--request-size: '1' is not a power of 2 from 4096 to 33554432/],
    [['--queue-size=8P', full, 'null:'], /--queue-size: /],
    [['--progress=77', full, 'null:'], /--progress: the file descriptor 77 is not open for writing/],
    [['--progress=x', full, 'null:'], /--progress: 'x' is not a number/]
  ]
  await allRefused(t, ['copy'], cases, 1)
  await allRefused(
    t,
    ['copy'],
    [
      [[full], /which SOURCE and DESTINATION/],
      [['--frob', full, 'null:'], /frob/]
    ],
    2
  )
  t.ok(fs.readFileSync(full).equals(Buffer.alloc(MiB, 'old')), 'nothing is written')
})

void t.test('copy - an image that somebody writes is neither copied nor written over', async (t) => {
  const image = imageOf(t, Buffer.alloc(MiB, 'old'))
  const other = imageOf(t, Buffer.alloc(MiB, 'new'))
  const server = await Mqnbd.serve(t, [image, '-f', 'raw'])
  await allRefused(
    t,
    ['copy'],
    [
      [[image, other], /it is locked: another process writes it/],
      [[other, image], /it is locked: /]
    ],
    1
  )
  t.ok(fs.readFileSync(image).equals(Buffer.alloc(MiB, 'old')))
  await server.process.end()
  t.match(await mqnbd(t, 'copy', image, other), { status: 0, stdout: '', stderr: '' })
  t.ok(sameBytes(image, other))
})
