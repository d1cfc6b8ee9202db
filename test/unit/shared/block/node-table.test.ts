import * as fs from 'node:fs'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { NodeTable } from '../../../../shared/block/index.ts'
import { parseOptionText } from '../../../../shared/config/key-value.ts'
import { emptyImage, imageOf, MiB } from '../../../helpers/files.ts'
import { openDescriptors } from '../../../helpers/proc.ts'
import { readNode, writeNode } from '../../../helpers/raw-node.ts'
import { tempDir } from '../../../helpers/temp-dir.ts'

function newTable(t: Test): { nodes: NodeTable; add: (text: string) => ReturnType<NodeTable['add']> } {
  const nodes = new NodeTable()
  t.teardown(() => nodes.close())
  return { nodes, add: (text) => nodes.add(parseOptionText(text, '--blockdev', 'driver')) }
}

const isOpen = (file: string): boolean => openDescriptors(process.pid).includes(fs.realpathSync(file))

void t.test('add - opens nodes of each driver, and finds them by name', async (t) => {
  const { nodes, add } = newTable(t)
  const image = emptyImage(t, 3 * MiB)
  const file = await add(`file,node-name=f,filename=${image}`)
  const memory = await add('driver=memory,node-name=m,size=2M')
  const slice = await add('raw,node-name=s,file=m,offset=1M,size=512')
  t.match(
    [file, memory, slice].map(({ driver, length, readOnly }) => ({ driver, length, readOnly })),
    [
      { driver: 'file', length: 3 * MiB, readOnly: false },
      { driver: 'memory', length: 2 * MiB, readOnly: false },
      { driver: 'raw', length: 512, readOnly: false }
    ]
  )
  t.equal(nodes.find('s', 'x'), slice)
  await writeNode(slice, 0, Buffer.alloc(512, 7))
  t.ok((await readNode(memory, MiB, 512)).equals(Buffer.alloc(512, 7)), 'the slice is of the named node')
  t.throws(() => nodes.find('z', '--export'), { kind: 'config', message: "--export: there is no node 'z'" })
})

void t.test('add - a filename may have commas', async (t) => {
  const { add } = newTable(t)
  const image = path.join(tempDir(t), 'a,b=c.img')
  fs.writeFileSync(image, 'x'.repeat(512))
  const node = await add(`file,node-name=f,filename=${image.replaceAll(',', ',,')}`)
  t.equal(node.length, 512)
})

void t.test('add - a node below that is described is read-only with its parent', async (t) => {
  const { nodes, add } = newTable(t)
  const image = imageOf(t, Buffer.alloc(512, 3))
  fs.chmodSync(image, 0o444)
  const node = await add(
    `raw,node-name=r,read-only=on,file.driver=file,file.node-name=f,file.filename=${image}`
  )
  t.ok(node.readOnly)
  t.ok(nodes.find('f', 'x').readOnly)
  t.ok((await readNode(node, 0, 512)).equals(Buffer.alloc(512, 3)))
})

void t.test('add - a read-only view of a node that can be written to', async (t) => {
  const { add } = newTable(t)
  const below = await add('memory,node-name=m,size=1M')
  const view = await add('raw,node-name=v,file=m,read-only=on')
  t.ok(view.readOnly)
  t.notOk(below.readOnly)
  await add('memory,node-name=ro,size=1M,read-only=on')
  await t.rejects(add('raw,node-name=w,file=ro'), { kind: 'config', message: /the node below is read-only/ })
})

const wrong: [text: string, message: string][] = [
  ['memory,size=1M', "--blockdev: 'node-name' is missing"],
  ['node-name=a,size=1M', "--blockdev: 'driver' is missing"],
  ['memry,node-name=a', "--blockdev: driver: there is no block driver 'memry'; known: file, memory, raw"],
  ['memory,node-name=a', "--blockdev: 'size' is missing"],
  ['memory,node-name=a,size=big', "--blockdev: size: 'big' is not a size"],
  ['memory,node-name=a,size=1M,siz=2', "--blockdev: 'siz' is unknown; did you mean 'size'?"],
  ['memory,node-name=0,size=1M', "--blockdev: node-name: '0' is not an id"],
  ['memory,node-name=taken,size=1M', "--blockdev: the node name 'taken' is taken"],
  ['memory,node-name=a,size=1M,read-only=1', "--blockdev: read-only: '1' is not 'on' or 'off'"],
  [
    'memory,node-name=a,size=1M,discard=ignore,detect-zeroes=unmap',
    '--blockdev: detect-zeroes=unmap is of no use with discard=ignore'
  ],
  [
    'memory,node-name=a,size=1M,discard=no',
    "--blockdev: discard: 'no' is not 'ignore' or 'unmap' or 'off' or 'on'"
  ],
  ['file,node-name=a,filename=', "--blockdev: filename: '' is not a text that is not empty"],
  [
    'file,node-name=a,filename=/nonexistent',
    "--blockdev: cannot open '/nonexistent' for writing: no such file"
  ],
  ['raw,node-name=a', "--blockdev: 'file' is missing"],
  ['raw,node-name=a,file=b', "--blockdev: file: there is no node 'b'"],
  ['raw,node-name=a,file=a', "--blockdev: file: there is no node 'a'"],
  ['raw,node-name=a,file.driver=memory', "--blockdev: file: 'size' is missing"],
  ['raw,node-name=a,file.size=1M', "--blockdev: file: 'driver' is missing"],
  [
    'raw,node-name=a,file.driver=raw,file.file.driver=memory,file.file.size=x',
    "--blockdev: file.file.size: 'x'"
  ],
  ['raw,node-name=a,file=taken,offset=2M', '--blockdev: offset 2097152 is beyond the end'],
  ['raw,node-name=a,file=taken,probed=on', "--blockdev: 'probed' is unknown"],
  ['{"driver":"raw","node-name":"a","file":7}', '--blockdev: file: 7 is not the name of a node'],
  ['{"driver":["raw"],"node-name":"a"}', '--blockdev: driver: ["raw"] is not a text']
]

void t.test('add - refuses what cannot be, in one line that names the key', async (t) => {
  const { add } = newTable(t)
  await add('memory,node-name=taken,size=1M')
  for (const [text, message] of wrong) {
    const error = await add(text).then(
      () => undefined,
      (error: unknown) => error as Error & { kind?: string }
    )
    t.equal(error?.kind, 'config', text)
    t.ok(error?.message.startsWith(message), `${text}: ${error?.message}`)
  }
})

void t.test('add - leaves nothing open when it fails, and close leaves nothing at all', async (t) => {
  const { nodes, add } = newTable(t)
  const image = emptyImage(t, MiB)
  await t.rejects(add(`raw,node-name=a,file.driver=file,file.node-name=b,file.filename=${image},offset=2M`), {
    message: /beyond the end/
  })
  t.notOk(isOpen(image))
  t.throws(() => nodes.find('b', 'x'), { kind: 'config', message: /no node 'b'/ })
  await add(`raw,node-name=a,file.driver=file,file.node-name=b,file.filename=${image}`)
  await add('raw,node-name=c,file=b,read-only=on')
  t.ok(isOpen(image))
  await nodes.close()
  t.notOk(isOpen(image))
})
