/** Where a server can be reached, for tests that go through every way in. */

/** Arguments of `Mqnbd.serve`, by what they mean. Without any it serves on a Unix socket. */
export const endpoints: Record<string, string[]> = {
  'a Unix socket': [],
  TCP: ['-p', '0', '-b', '127.0.0.1']
}

/** Every endpoint, served by one thread and by two. */
export const waysIn = Object.entries(endpoints).flatMap(([endpoint, args]) =>
  ['1', '2'].map((threads) => ({
    name: `${endpoint}, ${threads} iothread${threads === '1' ? '' : 's'}`,
    args: [...args, '--iothreads', threads]
  }))
)
