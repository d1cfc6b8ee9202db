// `npm start`: makes the checkout ready and becomes `mqnbd serve` in this very process, so that signals, standard
// streams and exit status are the server's own. Without arguments it serves a memory disk to try things with.
import path from 'node:path'
import { readyOrExit } from './ready.mjs'

const args = process.argv.slice(2)
await readyOrExit()
if (args.length === 0) {
  args.push('memory:1G', '--persistent', '--port', '10809')
  showHintsWhenServing()
}
const main = path.join(import.meta.dirname, '..', 'bin', 'mqnbd.cjs')
process.argv = [process.execPath, main, 'serve', ...args]
await import(main)

function showHintsWhenServing() {
  const { stdout } = process
  const write = stdout.write
  stdout.write = (chunk, ...rest) => {
    const result = write.call(stdout, chunk, ...rest)
    const uri = /^mqnbd: serving .* at (nbd:\S+)/m.exec(String(chunk))?.[1]
    if (uri) {
      stdout.write = write
      stdout.write(hints(uri))
    }
    return result
  }
}

function hints(uri) {
  const { hostname, port } = new URL(uri)
  return `
Try it from another terminal:
  nbdinfo ${uri}
  qemu-io -f raw -c 'write -P 7 0 1M' -c 'read -P 7 0 1M' ${uri}
  sudo nbd-client ${hostname} ${port || 10809} /dev/nbd0
Ctrl-C ends the server, and the memory disk with it.
`
}
