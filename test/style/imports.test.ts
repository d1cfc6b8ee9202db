/** The arrows of HACKING.md, "Rooms", read off the sources. */
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** Rooms of shared, each with those that it may import besides its own. */
const basic = ['syscall', 'errors', 'log', 'config', 'protocol']
const loop = ['aio', 'coroutine', 'iothread']
const allowed: Record<string, string[]> = {
  ...Object.fromEntries(basic.map((room) => [room, basic])),
  ...Object.fromEntries(loop.map((room) => [room, [...basic, ...loop]])),
  io: [...basic, ...loop],
  block: [...basic, ...loop, 'io'],
  object: [...basic, ...loop, 'io', 'block']
}

interface Import {
  from: string
  to: string
}

function importsBelow(folder: string): Import[] {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => importsOf(path.join(folder, file)))
}

function importsOf(file: string): Import[] {
  const text = fs.readFileSync(path.join(root, file), 'utf8')
  const specifiers = [...text.matchAll(/(?:from|import\(?) '(\.[^']+)'/g)].map((match) => match[1]!)
  return specifiers.map((to) => ({ from: file, to: path.join(path.dirname(file), to) }))
}

const described = ({ from, to }: Import): string => `${from} imports ${to}`

void t.test('imports - the sources are found', async (t) => {
  t.ok(importsBelow('shared').length > 50)
  t.ok(importsBelow('server').length > 50)
})

void t.test('imports - shared imports neither server nor client', async (t) => {
  t.same(
    importsBelow('shared')
      .filter(({ to }) => !to.startsWith('shared/'))
      .map(described),
    []
  )
})

void t.test('imports - server and client do not know each other, nor the program', async (t) => {
  const wrong = [
    ...importsBelow('server').filter(({ to }) => !to.startsWith('server/') && !to.startsWith('shared/')),
    ...(fs.existsSync(path.join(root, 'client')) ? importsBelow('client') : []).filter(
      ({ to }) => !to.startsWith('client/') && !to.startsWith('shared/')
    )
  ]
  t.same(wrong.map(described), [])
})

void t.test('imports - the rooms of shared import only those below them', async (t) => {
  const room = (file: string): string => file.split('/')[1]!
  for (const { from, to } of importsBelow('shared')) {
    if (room(from) === room(to)) continue
    t.ok(allowed[room(from)]?.includes(room(to)), described({ from, to }))
  }
})

void t.test('imports - every dependency has one home', async (t) => {
  const homes: Record<string, RegExp> = {
    koffi: /^shared\/syscall\//,
    pino: /^shared\/log\//,
    yargs: /^(server|client)\/cli\/|^mqnbd\.ts$/
  }
  const sources = [
    'mqnbd.ts',
    ...['shared', 'server'].flatMap((folder) => importsBelow(folder).map(({ from }) => from))
  ]
  for (const file of new Set(sources)) {
    const text = fs.readFileSync(path.join(root, file), 'utf8')
    for (const [name, home] of Object.entries(homes)) {
      if (new RegExp(`from '${name}(/[^']*)?'`).test(text)) t.match(file, home, `${file} imports ${name}`)
    }
  }
})
