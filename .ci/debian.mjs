// Trees of Debian: packages of a suite, and what they need, in a folder outside the checkout. Making one needs root and
// debootstrap; afterwards nothing is mounted there, and nothing runs.
import { execFile } from 'node:child_process'
import * as fs from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { cacheFolder } from './node.mjs'

const exec = promisify(execFile)
const archives = 'var/cache/apt/archives'

/** In a tree: which packages it was made for. */
const STAMP = 'etc/mqnbd-packages'

/** A system as it would be installed. @returns its folder */
export const installedDebian = (suite, packages) =>
  kept(`debian-${suite}-nbd`, packages, async (folder) => {
    await debootstrap(suite, folder, packages)
    fs.rmSync(path.join(folder, archives), { recursive: true, force: true })
    fs.chmodSync(path.join(folder, 'tmp'), 0o1777)
  })

/**
 * The same packages, unpacked and no more: no script of theirs has run. That is enough to run their programs by chroot,
 * and done in a third of the time.
 *
 * @returns its folder
 */
export const unpackedDebian = (suite, packages) =>
  kept(`debian-${suite}-unpacked`, packages, async (folder) => {
    const download = path.join(folder, 'download')
    await debootstrap(suite, download, packages, ['--download-only'])
    const unpack =
      'for deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$0"; done'
    const debs = fs.readdirSync(path.join(download, archives)).filter((name) => name.endsWith('.deb'))
    const files = debs.map((name) => path.join(download, archives, name))
    await run('bash', ['-e', '-o', 'pipefail', '-c', unpack, folder, ...files])
    fs.rmSync(download, { recursive: true })
    for (const [name, minor] of Object.entries({ null: '3', zero: '5', random: '8', urandom: '9' }))
      await run('mknod', ['-m', '666', path.join(folder, 'dev', name), 'c', '1', minor])
  })

// Into a folder of its own first, so that half a tree is never taken for a whole one.
async function kept(name, packages, make) {
  const tree = path.join(cacheFolder, name)
  const wanted = `${packages.join(' ')}\n`
  const stamp = path.join(tree, STAMP)
  const isThere = () => fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted
  if (isThere()) return tree
  fs.mkdirSync(cacheFolder, { recursive: true })
  const partial = fs.mkdtempSync(`${tree}.`)
  try {
    await make(partial)
    fs.chmodSync(partial, 0o755)
    fs.writeFileSync(path.join(partial, STAMP), wanted)
    // Somebody else may have made it meanwhile; one for other packages is of no more use.
    if (!isThere()) {
      fs.rmSync(tree, { recursive: true, force: true })
      fs.renameSync(partial, tree)
    }
  } finally {
    fs.rmSync(partial, { recursive: true, force: true })
  }
  return tree
}

async function debootstrap(suite, folder, packages, options = []) {
  const wanted = ['--variant=minbase', `--include=${packages.join(',')}`]
  await run('debootstrap', [...options, ...wanted, suite, folder, ...(await mirror(suite))])
}

/** Where this machine's apt gets the suite from, or, if it does not know the suite, Debian's main archive. */
async function mirror(suite) {
  const format = ['--format', '$(CODENAME) $(REPO_URI)', 'Created-By: Packages', 'Origin: Debian']
  const lines = (await run('apt-get', ['indextargets', ...format])).trim().split('\n')
  const repositories = lines.map((line) => line.split(' '))
  // Those of updates have a dash in their names.
  const found =
    repositories.find(([codename]) => codename === suite) ??
    repositories.find(([codename]) => /^\w+$/.test(codename))
  return found ? [found[1]] : []
}

/** @returns what the program wrote to stdout */
async function run(command, args) {
  try {
    const options = { timeout: 600_000, killSignal: 'SIGKILL', maxBuffer: 1 << 26 }
    return (await exec(command, args, options)).stdout
  } catch (error) {
    const said = `${error.stdout ?? ''}${error.stderr ?? ''}`.trim().split('\n').slice(-10).join('\n')
    throw new Error(`${command} failed: ${said || error.message}`, { cause: error })
  }
}
