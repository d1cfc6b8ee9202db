import t from 'tap'
import {
  decodeExtendedRequest,
  encodeExtendedRequest,
  NBD_EXTENDED_REQUEST_SIZE
} from '../../../../../shared/protocol/messages/extended-request.ts'
import { newRequest } from '../../../../../shared/protocol/messages/request.ts'
import { extendedRequest } from '../../../../helpers/raw-wire.ts'

const golden = '21e41c71' + '0021' + '0006' + '0123456789abcdef' + '0000000100000200' + '0000000500001000'
const decoded = {
  flags: 0x21,
  type: 6,
  cookieHigh: 0x01234567,
  cookieLow: 0x89abcdef,
  offset: 2 ** 32 + 512,
  length: 5 * 2 ** 32 + 4096
}

void t.test('extended request - golden bytes both ways, at any place in a buffer', async (t) => {
  t.equal(NBD_EXTENDED_REQUEST_SIZE, 32)
  for (const at of [0, 1, 100]) {
    const bytes = Buffer.alloc(200, 0xee)
    encodeExtendedRequest(bytes, at, decoded)
    t.equal(bytes.toString('hex', at, at + NBD_EXTENDED_REQUEST_SIZE), golden)
    t.ok(
      bytes.subarray(at + NBD_EXTENDED_REQUEST_SIZE).every((byte) => byte === 0xee),
      'nothing behind it is touched'
    )
    const into = newRequest()
    t.equal(decodeExtendedRequest(bytes, at, into), true)
    t.strictSame(into, { ...decoded, offsetHigh: 1, offsetLow: 512 })
  }
})

void t.test('extended request - boundary values stay unsigned and exact', async (t) => {
  const into = newRequest()
  for (const value of [0, 1, 0x7fff, 0x8000, 0xffff]) {
    t.ok(decodeExtendedRequest(extendedRequest({ type: value, flags: value }), 0, into))
    t.strictSame([into.type, into.flags], [value, value])
  }
  for (const cookie of [
    0n,
    0x80000000n,
    0xffffffffn,
    1n << 32n,
    (1n << 53n) + 1n,
    1n << 63n,
    (1n << 64n) - 1n
  ]) {
    t.ok(decodeExtendedRequest(extendedRequest({ type: 0, cookie }), 0, into))
    t.equal((BigInt(into.cookieHigh) << 32n) | BigInt(into.cookieLow), cookie)
  }
})

void t.test('R23 - offset and length are exact up to 2^53 - 1, and Infinity beyond', async (t) => {
  const into = newRequest()
  for (const value of [0n, 0xffffffffn, 1n << 32n, (1n << 32n) + 1n, (1n << 53n) - 1n]) {
    t.ok(decodeExtendedRequest(extendedRequest({ type: 0, offset: value, length: value }), 0, into))
    t.strictSame([into.offset, into.length], [Number(value), Number(value)])
  }
  for (const value of [1n << 53n, (1n << 53n) + 1n, 1n << 63n, (1n << 64n) - 1n]) {
    t.ok(decodeExtendedRequest(extendedRequest({ type: 0, offset: value, length: value }), 0, into))
    t.strictSame([into.offset, into.length], [Infinity, Infinity], value.toString(16))
    t.equal((BigInt(into.offsetHigh) << 32n) | BigInt(into.offsetLow), value, 'its halves can be sent back')
  }
})

void t.test('extended request - a wrong magic is told by false, wherever it is wrong', async (t) => {
  for (let byte = 0; byte < 4; byte++) {
    const bytes = extendedRequest({ type: 0 })
    bytes[byte]! ^= 0x80
    t.equal(decodeExtendedRequest(bytes, 0, newRequest()), false, `byte ${byte}`)
  }
  t.equal(decodeExtendedRequest(extendedRequest({ type: 0, magic: 0x25609513 }), 0, newRequest()), false)
})
