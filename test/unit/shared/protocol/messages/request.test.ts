import t from 'tap'
import {
  decodeRequest,
  encodeRequest,
  NBD_REQUEST_SIZE,
  newRequest
} from '../../../../../shared/protocol/messages/request.ts'
import { request } from '../../../../helpers/raw-wire.ts'

const golden = '25609513' + '0001' + '0006' + '0123456789abcdef' + '0000000100000200' + '00001000'
const decoded = {
  flags: 1,
  type: 6,
  cookieHigh: 0x01234567,
  cookieLow: 0x89abcdef,
  offset: 2 ** 32 + 512,
  length: 4096
}

void t.test('request - golden bytes both ways, at any place in a buffer', async (t) => {
  for (const at of [0, 1, 100]) {
    const bytes = Buffer.alloc(200, 0xee)
    encodeRequest(bytes, at, decoded)
    t.equal(bytes.toString('hex', at, at + NBD_REQUEST_SIZE), golden)
    t.ok(
      bytes.subarray(at + NBD_REQUEST_SIZE).every((byte) => byte === 0xee),
      'nothing behind it is touched'
    )
    const into = newRequest()
    t.equal(decodeRequest(bytes, at, into), true)
    t.strictSame(into, { ...newRequest(), ...decoded })
  }
})

void t.test('request - boundary values stay unsigned and exact', async (t) => {
  const into = newRequest()
  for (const value of [0, 1, 0x7fff, 0x8000, 0xffff]) {
    t.ok(decodeRequest(request({ type: value, flags: value }), 0, into))
    t.strictSame([into.type, into.flags], [value, value])
  }
  for (const length of [0, 0x7fffffff, 0x80000000, 0xffffffff]) {
    t.ok(decodeRequest(request({ type: 0, length }), 0, into))
    t.equal(into.length, length)
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
    t.ok(decodeRequest(request({ type: 0, cookie }), 0, into))
    t.equal((BigInt(into.cookieHigh) << 32n) | BigInt(into.cookieLow), cookie)
  }
})

void t.test('R23 - an offset is exact up to 2^53 - 1, and Infinity beyond', async (t) => {
  const into = newRequest()
  for (const offset of [0n, 0xffffffffn, 1n << 32n, (1n << 32n) + 1n, (1n << 53n) - 2n, (1n << 53n) - 1n]) {
    t.ok(decodeRequest(request({ type: 0, offset }), 0, into))
    t.equal(into.offset, Number(offset))
    const again = Buffer.alloc(NBD_REQUEST_SIZE)
    encodeRequest(again, 0, into)
    t.equal(again.readBigUInt64BE(16), offset)
  }
  for (const offset of [1n << 53n, (1n << 53n) + 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]) {
    t.ok(decodeRequest(request({ type: 0, offset }), 0, into))
    t.equal(into.offset, Infinity, offset.toString(16))
  }
})

void t.test('request - a wrong magic is told by false, wherever it is wrong', async (t) => {
  for (let byte = 0; byte < 4; byte++) {
    const bytes = request({ type: 0 })
    bytes[byte]! ^= 0x80
    t.equal(decodeRequest(bytes, 0, newRequest()), false, `byte ${byte}`)
  }
})
