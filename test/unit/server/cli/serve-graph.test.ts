import t from 'tap'
import { graphSteps } from '../../../../server/cli/graph-steps.ts'
import { Graph } from '../../../../server/cli/serve-graph.ts'

const mem = ['--blockdev', 'memory,node-name=m,size=1M']
const ro = ['--blockdev', 'memory,node-name=ro,size=1M,read-only=on']
const io = ['--object', 'iothread,id=io0']

void t.test('graphSteps - keeps the order, whatever stands between and in the values', async (t) => {
  const args = ['-t', '--export', 'a=1', '--object=b', '-k', 's', '--blockdev', '--export', '--export=x=y\nz']
  t.strictSame(graphSteps([...args, '--objects']), [
    { option: 'export', value: 'a=1' },
    { option: 'object', value: 'b' },
    { option: 'blockdev', value: '--export' },
    { option: 'export', value: 'x=y\nz' }
  ])
  t.strictSame(graphSteps(['--object', 'a', '--', '--object', 'b']), [{ option: 'object', value: 'a' }])
})

void t.test('Graph - names and threads of exports', async (t) => {
  const graph = await Graph.build(
    graphSteps([
      ...[...io, '--object', 'iothread,id=io1', ...mem, ...ro],
      ...['--export', 'nbd,id=a,node-name=m,writable=on,iothread.0=io1,iothread.1=io0,description=x,,y'],
      ...['--export', 'nbd,id=b,node-name=m,name=,iothread=io0'],
      ...['--export', 'nbd,id=c,node-name=ro,name=other,writable=off']
    ])
  )
  t.teardown(() => graph.close())
  t.match(
    graph.exports.map(({ nodeName, options: { iothreads, ...options } }) => ({
      nodeName,
      ...options,
      threads: iothreads?.map(({ id }) => id)
    })),
    [
      { nodeName: 'm', name: 'm', writable: true, description: 'x,y', threads: ['io1', 'io0'] },
      { nodeName: 'm', name: '', writable: false, threads: ['io0'] },
      { nodeName: 'ro', name: 'other', writable: false, threads: undefined }
    ]
  )
})

const wrong: [args: string[], message: RegExp][] = [
  [io, /^there is nothing to serve: no --export/],
  [mem, /^there is nothing to serve: no --export/],
  [['--object', 'iothread'], /^--object: 'id' is missing/],
  [
    ['--object', 'iothread,id=io0,poll-maxns=1'],
    /^--object: 'poll-maxns' is unknown; did you mean 'poll-max-ns'\?/
  ],
  [['--object', 'iothread,id=io0,poll-max-ns=-1'], /^--object: poll-max-ns: '-1' is not a number from 0/],
  [['--object', 'iothread,id=io0,id=io1'], /^--object: 'id' is given twice/],
  [['--object', '{"qom-type"'], /^--object: this is not JSON/],
  [['--object', ''], /^--object: 'qom-type' is missing/],
  [[...io, ...io], /^--object: the id 'io0' is taken/],
  [
    [...mem, '--export', 'nbd,id=e,nodename=m'],
    /^--export: 'nodename' is unknown; did you mean 'node-name'\?/
  ],
  [
    ['--blockdev', 'file,node-name=f,filename=f,cache.direct=yes'],
    /^--blockdev: cache\.direct: 'yes' is not/
  ],
  [
    ['--blockdev', 'file,node-name=f,filename=f,aio=native'],
    /^--blockdev: aio: 'native' is not 'threads' or/
  ],
  [['--blockdev', 'file,node-name=f,filename=f,cache=none'], /^--blockdev: cache: 'none' is not an object/],
  [
    ['--blockdev', 'file,node-name=f,filename=/proc/version,read-only=on,cache.direct=on'],
    /^--blockdev: .*does not support O_DIRECT/
  ],
  [[...mem, '--export', 'nbd,node-name=m'], /^--export: 'id' is missing/],
  [[...mem, '--export', 'nbd,id=e'], /^--export: 'node-name' is missing/],
  [[...mem, '--export', 'vhost-user-blk,id=e,node-name=m'], /^--export: type: 'vhost-user-blk' is not 'nbd'/],
  [[...mem, '--export', 'nbd,id=e,node-name=n'], /^--export: node-name: there is no node 'n'/],
  [['--export', 'nbd,id=e,node-name=m', ...mem], /^--export: node-name: there is no node 'm'/],
  [
    [...mem, '--export', 'nbd,id=e,node-name=m,writable=yes'],
    /^--export: writable: 'yes' is not 'on' or 'off'/
  ],
  [
    [...ro, '--export', 'nbd,id=e,node-name=ro,writable=on'],
    /^--export: writable=on, but node 'ro' is read-only/
  ],
  [
    [...mem, '--export', 'nbd,id=e,node-name=m,iothread=io0'],
    /^--export: iothread: there is no object 'io0'/
  ],
  [[...io, ...mem, '--export', 'nbd,id=e,node-name=m,iothread.1=io0'], /^--export: 'iothread\.0' is missing/],
  [
    [...io, ...mem, '--export', 'nbd,id=e,node-name=m,iothread.0=io0,iothread.1=io0'],
    /^--export: iothread: the same thread is named twice/
  ],
  [
    [...mem, '--export', 'nbd,id=e,node-name=m', '--export', 'nbd,id=e,node-name=m,name=x'],
    /^--export: the id 'e' is taken/
  ]
]

void t.test('Graph - refuses what cannot be, in one line that names option and key', async (t) => {
  for (const [args, message] of wrong) {
    await t.rejects(Graph.build(graphSteps(args)), { kind: 'config', message }, args.join(' '))
  }
})
