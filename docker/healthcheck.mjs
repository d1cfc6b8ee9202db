// Exit status 0 if an NBD server greets us on the port, 1 if not. Takes leave as the protocol wants it, so that the
// server has nothing to complain about in its log.
import { connect } from 'node:net'

const NBDMAGIC = 0x4e42444d41474943n
const IHAVEOPT = 0x49484156454f5054n
const NBD_FLAG_FIXED_NEWSTYLE = 1
const NBD_FLAG_C_FIXED_NEWSTYLE = 1
const NBD_OPT_ABORT = 2
const GREETING_SIZE = 8 + 8 + 2

const port = Number(process.env.MQNBD_HEALTH_PORT ?? 10809)
const socket = connect({ host: '127.0.0.1', port, timeout: 3000 })
let greeting = Buffer.alloc(0)
socket.on('timeout', () => fail('no greeting'))
socket.on('error', (error) => fail(error.message))
socket.on('end', () => fail('connection closed before the greeting'))
socket.on('data', (data) => {
  greeting = Buffer.concat([greeting, data])
  if (greeting.length < GREETING_SIZE) return
  const isNbd = greeting.readBigUInt64BE(0) === NBDMAGIC && greeting.readBigUInt64BE(8) === IHAVEOPT
  if (!isNbd || !(greeting.readUInt16BE(16) & NBD_FLAG_FIXED_NEWSTYLE)) fail('not a newstyle NBD server')
  // The server's answer to ABORT is not waited for.
  socket.end(leave(), () => process.exit(0))
})

function leave() {
  const bytes = Buffer.alloc(4 + 16)
  bytes.writeUInt32BE(NBD_FLAG_C_FIXED_NEWSTYLE, 0)
  bytes.writeBigUInt64BE(IHAVEOPT, 4)
  bytes.writeUInt32BE(NBD_OPT_ABORT, 12)
  return bytes
}

function fail(reason) {
  console.error(`mqnbd is not healthy: ${reason}`)
  process.exit(1)
}
