/** `npm run bench -- NAME [--quick]`, `npm run bench -- multiqueue [--only=CELL]`, and `npm run bench -- servers [OPTIONS]`. */
import os from 'node:os'
import { client } from './client.ts'
import { core } from './core.ts'
import { library } from './library.ts'
import { multiqueue } from './multiqueue.ts'
import { servers } from './servers/servers.ts'

/** @param only one part of it, for those that have some */
type Bench = (quick: boolean, only?: string) => Promise<void>
const benches: Record<string, Bench> = { client, core, library, multiqueue }

const ONLY = '--only='

const args = process.argv.slice(2)
if (args[0] === 'servers') {
  await servers(args.slice(1))
} else {
  const quick = args.includes('--quick')
  const only = args.find((arg) => arg.startsWith(ONLY))?.slice(ONLY.length)
  const names = args.filter((arg) => arg !== '--quick' && !arg.startsWith(ONLY))
  const unknown = names.filter((name) => !(name in benches))
  if (names.length === 0 || unknown.length > 0) {
    const known = [...Object.keys(benches), 'servers'].join(', ')
    const what = unknown.length > 0 ? `unknown: ${unknown.join(', ')}; ` : ''
    console.error(`mqnbd bench: ${what}known: ${known}`)
    process.exit(2)
  }
  if (only !== undefined && names.some((name) => name !== 'multiqueue')) {
    console.error(`mqnbd bench: ${ONLY.slice(0, -1)} is for multiqueue`)
    process.exit(2)
  }
  console.log(
    `Node ${process.version}, ${process.platform} ${process.arch}; medians, smallest and largest of several runs`
  )
  console.log(`${os.cpus().length} x ${os.cpus()[0]?.model}, load average ${os.loadavg()[0]!.toFixed(1)}`)
  for (const name of names) await benches[name]!(quick, only)
}
