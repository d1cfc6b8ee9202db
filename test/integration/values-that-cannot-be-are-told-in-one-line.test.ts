import t from 'tap'
import { allRefused } from '../helpers/command-line.ts'

const options: [args: string[], reason: RegExp][] = [
  [['-p', 'http'], /--port: 'http' is not a number from 0 to 65535/],
  [['-p', '65536'], /--port: '65536'/],
  [['--port=-1'], /--port: '-1'/],
  [['-e', 'many'], /--shared: 'many'/],
  [['--shared=-1'], /--shared: '-1'/],
  [['--iothreads', '0'], /--iothreads: '0'/],
  [['--offset', '1Q'], /--offset: '1Q' is not a size/],
  [['--offset=-512'], /--offset: '-512' is not a size/],
  [['--offset', '2M'], /offset 2097152 is beyond the end/],
  [['--size', '0.3'], /--size: '0.3'/],
  [['--size', '2M'], /size 2097152 .* beyond the end/],
  [['--offset', '512K', '--size', '513K'], /beyond the end/],
  [['-f', 'qcow2'], /unknown format 'qcow2'/],
  [['-f', ''], /unknown format ''/],
  [['-x', 'x'.repeat(4097)], /export name .* 4097 bytes/],
  [['-D', 'x'.repeat(4097)], /description .* 4097 bytes/],
  [['--vsock', '-k', 's'], /--vsock and --socket do not go together/],
  [['--vsock', '-p', '4294967295'], /--port: '4294967295' is not a number from 0 to 4294967294/],
  [['-b', '203.0.113.1'], /cannot listen on 203\.0\.113\.1/],
  [['--cache', 'none'], /--cache none, directsync\) is for files and block devices, not 'memory:1M'/],
  [['--cache', 'unsafe'], /--cache unsafe is for files and block devices, not 'memory:1M'/],
  [['--aio', 'threads'], /--aio threads is for files and block devices, not 'memory:1M'/],
  [['-n'], /--cache none, directsync\) is for files and block devices, not 'memory:1M'/],
  [
    ['--discard', 'ignore', '--detect-zeroes', 'unmap'],
    /detect-zeroes=unmap is of no use with discard=ignore/
  ],
  [['--handshake-limit', 'long'], /--handshake-limit: 'long' is not a number from 0 to 86400/],
  [['--handshake-limit=-1'], /--handshake-limit: '-1'/]
]

const serve = ['serve', 'memory:1M', '-p', '0']
// Not having a value, and having one that cannot be, are neighbours: either status will do.
const either = [1, 2]

void t.test('command line - values that make no sense: status 1', async (t) => {
  // What is given last counts.
  await allRefused(t, serve, options, 1)
})

void t.test('command line - TLS without what it needs: status 1', async (t) => {
  const tls: [args: string[], reason: RegExp][] = [
    [['--tls', 'require'], /--tls require needs --tls-creds/],
    [['--tls', 'on'], /--tls on needs --tls-creds or --tls-psk/],
    [['--tls-psk', ''], /--tls-psk: which file/],
    [['--tls-psk', '/nonexistent'], /cannot read '\/nonexistent': no such file/],
    [['--tls-psk', '/dev/null'], /'\/dev\/null' is not a file/],
    [['--tls-psk', 'keys.psk', '--tls-creds', '.'], /--tls-creds and --tls-psk: one of them/],
    [['--tls-psk', 'keys.psk', '--no-tls-verify-peer'], /--tls-verify-peer is for --tls-creds/],
    [['--no-tls-verify-peer'], /--tls-verify-peer is for --tls-creds/],
    [['--tls-creds', '/no/such/folder'], /cannot look into '\/no\/such\/folder': no such file/],
    [['--tls-creds', '/'], /there is no '\/server-cert\.pem'/]
  ]
  await allRefused(t, serve, tls, 1)
})

void t.test('command line - images that make no sense: status 1', async (t) => {
  const images: [args: string[], reason: RegExp][] = [
    [['memory:'], /'' is not a size/],
    [['memory:x'], /'x' is not a size/],
    [['memory:-1'], /'-1' is not a size/],
    [['memory:9E'], /'9E'/],
    [['/proc/version', '-r', '--cache', 'none'], /'\/proc\/version' .* does not support O_DIRECT/]
  ]
  await allRefused(t, ['serve', '-p', '0'], images, 1)
})

void t.test('command line - an option without its value', async (t) => {
  const bare = ['-k', '-b', '--pid-file', '--format', '--size', '--tls-creds', '--tls']
  await allRefused(
    t,
    serve,
    bare.map((option) => [[option], /./]),
    either
  )
})

void t.test('command line - a socket, a pid file or an image without a name', async (t) => {
  const nameless: [args: string[], reason: RegExp][] = [
    [[...serve, '-k', ''], /./],
    [[...serve, '--pid-file', ''], /./],
    [[...serve, '--tls-creds', ''], /which folder/],
    [['serve', '', '-p', '0'], /which IMAGE\?/]
  ]
  await allRefused(t, [], nameless, either)
})

void t.test('command line - an empty address does not mean every address', async (t) => {
  await allRefused(t, serve, [[['-b', ''], /bind|listen/]], either)
})

void t.test('command line - a name with a line feed is still told in one line', async (t) => {
  await allRefused(t, ['serve', 'no\nsuch\nfile', '-p', '0'], [[['-r'], /no such file/]], 1)
})

void t.test('command line - a yes or no that is neither', async (t) => {
  const odd: [args: string[], reason: RegExp][] = [
    [['--read-only=maybe'], /read-only/],
    [['-r=yes'], /-r|read-only/],
    [['--persistent=1'], /persistent/]
  ]
  await allRefused(t, serve, odd, either)
})
