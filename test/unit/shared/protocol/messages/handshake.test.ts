import t from 'tap'
import {
  decodeClientFlags,
  encodeGreeting,
  NBD_CLIENT_FLAGS_SIZE,
  NBD_GREETING_SIZE
} from '../../../../../shared/protocol/messages/handshake.ts'

void t.test('encodeGreeting - golden bytes', async (t) => {
  t.equal(encodeGreeting(3).toString('hex'), '4e42444d41474943' + '49484156454f5054' + '0003')
  t.equal(encodeGreeting(0xffff).toString('hex', 16), 'ffff')
  t.equal(encodeGreeting(0).length, NBD_GREETING_SIZE)
})

void t.test('decodeClientFlags - reads 32 unsigned bits', async (t) => {
  t.equal(NBD_CLIENT_FLAGS_SIZE, 4)
  for (const flags of [0, 1, 3, 0x7fffffff, 0x80000000, 0xffffffff]) {
    t.equal(decodeClientFlags(Buffer.from(flags.toString(16).padStart(8, '0'), 'hex')), flags)
  }
})

void t.test('decodeClientFlags - reads nothing behind a buffer that is too short', async (t) => {
  t.throws(() => decodeClientFlags(Buffer.alloc(3)), RangeError)
})
