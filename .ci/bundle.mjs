// Makes one file of the program, dist/program.cjs: what tsc wrote for it, and the packages that are loaded with it. Finding
// a file, reading it and making a module of it takes Node nearly a millisecond, and there are some 150 of them.
import { spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const require = createRequire(import.meta.url)
const dist = path.join(import.meta.dirname, '..', 'dist')
const program = path.join(dist, 'program.cjs')
/** What V8 has compiled of it. */
const compiled = `${program}.cache`

const BANNER = "const __dist = require('node:url').pathToFileURL(__dirname).href"

/** Threads and programs are started by the URLs of modules, which lie in dist beside the one that starts them. */
const ownUrls = {
  name: 'own-urls',
  setup({ onLoad }) {
    onLoad({ filter: /\.m?js$/, namespace: 'file' }, async ({ path: file }) => {
      const source = await fs.promises.readFile(file, 'utf8')
      if (!source.includes('import.meta.url')) return undefined
      const own = path.relative(dist, file)
      return { contents: source.replaceAll('import.meta.url', `(__dist + '/${own}')`) }
    })
  }
}

/** yargs lays out help by them. Their regular expressions over Unicode take longer than Node takes to start. */
const OF_HELP = ['cliui', 'string-width']

/** Node's own modules that many commands do without, and that bring dozens of others with them. */
const SELDOM_USED = ['node:crypto', 'node:tls']

/**
 * They are loaded when something of them is first used. What an older Node does not have, in which this may be built, is not
 * there; and nothing can be assigned to.
 */
const builtInLate = {
  name: 'built-in-late',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(${SELDOM_USED.join('|')})$`)
    onResolve({ filter }, ({ path: name, namespace }) =>
      namespace === 'built-in' ? { path: name, external: true } : { path: name, namespace: 'built-in' }
    )
    onLoad({ filter, namespace: 'built-in' }, ({ path: name }) => {
      const late = (key) => `get ${key}() { return require('${name}').${key} }`
      return { contents: `module.exports = { ${Object.keys(require(name)).map(late).join(', ')} }` }
    })
  }
}

/** Packages that are one function are loaded when it is called. */
const loadedLate = {
  name: 'loaded-late',
  setup({ onResolve, onLoad, resolve }) {
    const filter = new RegExp(`^(${OF_HELP.join('|')})$`)
    onResolve({ filter }, async ({ path: name, resolveDir, pluginData }) => {
      if (pluginData === 'late') return undefined
      const options = { resolveDir, kind: 'import-statement', pluginData: 'late' }
      return { path: (await resolve(name, options)).path, namespace: 'late' }
    })
    onLoad({ filter: /./, namespace: 'late' }, ({ path: file }) => ({
      contents: `export default (...args) => require(${JSON.stringify(file)}).default(...args)`,
      resolveDir: path.dirname(file)
    }))
  }
}

export async function bundle() {
  fs.rmSync(compiled, { force: true })
  await build({
    entryPoints: [path.join(dist, 'mqnbd.js')],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    sourcemap: true,
    banner: { js: BANNER },
    // One has a binary beside it, the other is loaded when there is something to log.
    external: ['koffi', 'pino'],
    plugins: [ownUrls, loadedLate, builtInLate],
    logLevel: 'warning'
  })
  const { status, stderr } = spawnSync(
    process.execPath,
    [path.join(import.meta.dirname, 'compile-ahead.cjs'), program],
    { encoding: 'utf8' }
  )
  if (status !== 0) throw new Error(`compiling ahead: ${stderr}`)
}

/** For who has only called tsc. */
export async function bundleIfOlder() {
  const time = (file) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (time(compiled) <= time(path.join(dist, '.tsbuildinfo'))) await bundle()
}

if (fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) await bundle()
