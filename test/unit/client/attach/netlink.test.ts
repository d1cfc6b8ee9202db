import t from 'tap'
import {
  attributeList,
  decodeAttributes,
  decodeError,
  decodeGeneric,
  decodeMessages,
  encodeAttributes,
  encodeRequest,
  NLMSG_ERROR,
  textOf
} from '../../../../client/attach/netlink.ts'

const bytes = (...lines: string[]): Buffer => Buffer.from(lines.join('').replaceAll(' ', ''), 'hex')

void t.test('netlink - attributes as linux/netlink.h has them', async (t) => {
  t.equal(
    encodeAttributes([
      { type: 1, value: { u32: 0x01020304 } },
      { type: 2, value: { u64: 0x1122334455667788n } },
      { type: 3, value: { text: 'nbd' } },
      { type: 4, value: { text: 'nbd0' } },
      { type: 7, value: { nested: [{ type: 1, value: { u32: 5 } }] } }
    ]).toString('hex'),
    bytes(
      '0800 0100 04030201',
      '0c00 0200 8877665544332211',
      '0800 0300 6e626400',
      // Nine bytes, and three of padding that do not count.
      '0900 0400 6e62643000 000000',
      // NLA_F_NESTED in the type.
      '0c00 0780 0800 0100 05000000'
    ).toString('hex')
  )
})

void t.test('netlink - attributes are read back, also several of one type, and flagged ones', async (t) => {
  const content = bytes('0500 0100 07 000000', '0500 0100 08 000000', '0600 0280 0900', '0000')
  t.same(
    attributeList(content).map(([type, value]) => [type, value.toString('hex')]),
    [
      [1, '07'],
      [1, '08'],
      [2, '0900']
    ]
  )
  t.equal(decodeAttributes(content).get(1)?.toString('hex'), '08')
  t.equal(textOf(Buffer.from('words\0')), 'words')
})

void t.test(
  'netlink - an attribute that is longer than its message, or shorter than its header',
  async (t) => {
    for (const broken of ['0900 0100 00000000', '0300 0100', '0000 0000', 'ffff 0100 00']) {
      t.throws(() => attributeList(bytes(broken)), { kind: 'protocol', message: /netlink attribute/ }, broken)
    }
  }
)

void t.test('netlink - a request as linux/genetlink.h has it', async (t) => {
  const attributes = [{ type: 2, value: { text: 'nbd' } }]
  t.equal(
    encodeRequest({ type: 0x10, sequence: 0x0a0b, command: 3, version: 1, attributes }).toString('hex'),
    bytes(
      // 28 bytes of type GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, sequence number, port of the kernel
      '1c000000 1000 0500 0b0a0000 00000000',
      '03 01 0000',
      '0800 0200 6e626400'
    ).toString('hex')
  )
})

void t.test('netlink - several messages in a datagram', async (t) => {
  const datagram = bytes(
    '19000000 1c00 0000 01000000 00000000 05 01 0000 0500 0100 01 000000',
    '14000000 1c00 0200 02000000 00000000 04 01 0000'
  )
  const messages = decodeMessages(datagram)
  t.same(
    messages.map(({ type, flags, sequence }) => [type, flags, sequence]),
    [
      [0x1c, 0, 1],
      [0x1c, 2, 2]
    ]
  )
  const [first, second] = messages.map(decodeGeneric)
  t.equal(first!.command, 5)
  t.equal(first!.attributes.get(1)?.toString('hex'), '01')
  t.same([second!.command, second!.attributes.size], [4, 0])
})

void t.test('netlink - a message that its datagram does not hold', async (t) => {
  for (const broken of [
    '14',
    '0f000000 0000 0000 00000000 00000000',
    '11000000 0000 0000 00000000 00000000'
  ]) {
    t.throws(() => decodeMessages(bytes(broken)), { kind: 'protocol', message: /netlink message/ }, broken)
  }
  const [empty] = decodeMessages(bytes('12000000 1c00 0000 00000000 00000000 0102'))
  t.throws(() => decodeGeneric(empty!), { kind: 'protocol', message: /./ })
})

void t.test('netlink - an acknowledgement, and errors with words and without', async (t) => {
  const request = '1c000000 1000 0500 01000000 00000000 03 01 0000 0800 0200 6e626400'
  const decode = (header: string, ...payload: string[]): unknown => {
    const content = bytes(...payload)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(16 + content.length)
    const [message] = decodeMessages(Buffer.concat([length, bytes(header), content]))
    t.equal(message!.type, NLMSG_ERROR)
    return decodeError(message!)
  }
  t.same(decode('0200 0001 01000000 00000000', '00000000', request.slice(0, 40)), {
    errno: 0,
    text: undefined
  })
  // -ENOENT, and the whole request behind it.
  t.same(decode('0200 0000 01000000 00000000', 'feffffff', request), { errno: 2, text: undefined })
  // The words stand behind the request; of a capped one only the header is there.
  const words = '0a00 0100 77726f6e6700 0000'
  t.same(decode('0200 0002 01000000 00000000', 'eaffffff', request, words), { errno: 22, text: 'wrong' })
  const capped = decode('0200 0003 01000000 00000000', 'eaffffff', request.slice(0, 36), words)
  t.same(capped, { errno: 22, text: 'wrong' })
  const [short] = decodeMessages(bytes('14000000 0200 0000 00000000 00000000 00000000'))
  t.throws(() => decodeError(short!), { kind: 'protocol', message: /./ })
})
