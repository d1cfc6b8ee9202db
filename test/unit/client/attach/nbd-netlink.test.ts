import t from 'tap'
import { decodeAttributes, encodeAttributes } from '../../../../client/attach/netlink.ts'
import {
  connectAttributes,
  decodeIndex,
  decodeStatus,
  reconfigureAttributes
} from '../../../../client/attach/nbd-netlink.ts'

const bytes = (...lines: string[]): Buffer => Buffer.from(lines.join('').replaceAll(' ', ''), 'hex')

const settings = {
  size: 0x0102030405,
  blockSize: 512,
  serverFlags: 0x0103,
  clientFlags: 0,
  timeout: 0,
  deadConnTimeout: 0,
  sockets: [7, 8]
}

void t.test('nbd netlink - what a device is connected with, as linux/nbd-netlink.h has it', async (t) => {
  t.equal(
    encodeAttributes(connectAttributes(3, settings)).toString('hex'),
    bytes(
      '0800 0100 03000000',
      '0c00 0200 0504030201000000',
      '0c00 0300 0002000000000000',
      '0c00 0500 0301000000000000',
      '0c00 0600 0000000000000000',
      // NBD_ATTR_SOCKETS: twice NBD_SOCK_ITEM with NBD_SOCK_FD in it
      '1c00 0780',
      '0c00 0180 0800 0100 07000000',
      '0c00 0180 0800 0100 08000000'
    ).toString('hex')
  )
})

void t.test('nbd netlink - time limits only when there are any', async (t) => {
  const limited = { ...settings, timeout: 30, deadConnTimeout: 600 }
  const attributes = decodeAttributes(encodeAttributes(connectAttributes(0, limited)))
  t.equal(attributes.get(4)?.toString('hex'), '1e00000000000000')
  t.equal(attributes.get(8)?.toString('hex'), '5802000000000000')
})

void t.test('nbd netlink - new sockets for a device', async (t) => {
  t.equal(
    encodeAttributes(reconfigureAttributes(1, [9])).toString('hex'),
    bytes('0800 0100 01000000', '1000 0780', '0c00 0180 0800 0100 09000000').toString('hex')
  )
})

void t.test('nbd netlink - the state of devices', async (t) => {
  const list = bytes(
    '2c00 0900',
    '1400 0100 0800 0100 00000000 0500 0200 01 000000',
    '1400 0100 0800 0100 02000000 0500 0200 00 000000'
  )
  t.same(
    [...decodeStatus(decodeAttributes(list))],
    [
      [0, true],
      [2, false]
    ]
  )
  t.same([...decodeStatus(decodeAttributes(bytes('0400 0900')))], [])
  t.throws(() => decodeStatus(new Map()), { kind: 'protocol', message: /./ })
  const cutOff = bytes('1000 0900', '0c00 0100 0800 0100 00000000')
  t.throws(() => decodeStatus(decodeAttributes(cutOff)), { kind: 'protocol', message: /./ })
})

void t.test('nbd netlink - the device that a message is about', async (t) => {
  t.equal(decodeIndex(decodeAttributes(bytes('0800 0100 0f000000'))), 15)
  t.throws(() => decodeIndex(new Map()), { kind: 'protocol', message: /./ })
})
