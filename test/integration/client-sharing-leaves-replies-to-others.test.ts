import t from 'tap'
import { connect } from '../../client/index.ts'
import { SharedConnection } from '../../client/sharing/shared-connection.ts'
import type { QIOChannelSocket } from '../../shared/io/channel-socket.ts'
import { NBD_CMD_READ } from '../../shared/protocol/constants.ts'
import { encodeRequest, NBD_REQUEST_SIZE } from '../../shared/protocol/messages/request.ts'
import { closeFd } from '../../shared/syscall/fd.ts'
import { declare } from '../../shared/syscall/libc.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import { emptyImage } from '../helpers/files.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { rounds } from '../unit/shared/io/channel-bytes.ts'

const LENGTH = 512
const REPLY = 16 + LENGTH
/** For what must happen soon, on a machine that is busy. */
const WAIT_MS = 30_000

const recv = declare('int64_t recv(int fd, uintptr_t buf, size_t length, int flags)')
const MSG_PEEK = 0x02
const MSG_DONTWAIT = 0x40

/** How many bytes a socket has to be received, up to REPLY. */
function received(channel: QIOChannelSocket): number {
  const scratch = Memory.allocate(REPLY)
  const { fd } = channel.handle()
  const n = recv(fd, scratch.address, REPLY, MSG_PEEK | MSG_DONTWAIT)
  closeFd(fd)
  return n
}

/** A part that has asked for something, and has not come to reading the reply. */
function ask({ part, channel }: ReturnType<typeof SharedConnection.join>): void {
  const command = { type: NBD_CMD_READ, flags: 0, offset: 0, length: LENGTH }
  const cookie = part.takeCookie(command)!
  const request = Memory.allocate(NBD_REQUEST_SIZE)
  const cookieHigh = Math.floor(cookie / 2 ** 32)
  encodeRequest(request.buffer, 0, { ...command, cookieHigh, cookieLow: cookie % 2 ** 32 })
  channel.writev([{ memory: request, start: 0, end: NBD_REQUEST_SIZE }])
  const end = performance.now() + WAIT_MS
  // Nothing else of this thread happens meanwhile, as if it were another thread that has asked.
  while (received(channel) < REPLY) if (performance.now() > end) throw new Error('there is no reply')
}

void t.test('sharing - a reply is left to whoever has asked, from the moment that it begins', async (t) => {
  const server = await Mqnbd.serve(t, [emptyImage(t, 1024 * 1024), '-f', 'raw'])
  const disk = await connect(server.uri, { packets: 'simple' })
  let other: ReturnType<typeof SharedConnection.join> | undefined
  const begin = SharedConnection.begin.bind(SharedConnection)
  t.teardown(() => (SharedConnection.begin = begin))
  SharedConnection.begin = (channel, handle) => {
    const connection = begin(channel, handle)
    ask((other = SharedConnection.join(connection.handle)))
    return connection
  }
  await disk.share()
  await rounds()
  t.equal(received(other!.channel), REPLY)
  other!.part.leave()
  await other!.channel.close()
  // It is nobody's now, and dropped by whoever reads next.
  t.equal((await disk.read(0, 4096)).length, 4096)
  await disk.close()
})
