import { constants } from 'node:os'
import t from 'tap'
import { GenericNetlink } from '../../../../client/attach/generic-netlink.ts'
import { KernelClient, type KernelSocket } from '../../../../client/attach/kernel-client.ts'
import { attributeList, decodeMessages, decodeGeneric } from '../../../../client/attach/netlink.ts'
import { NETLINK_GENERIC, NetlinkSocket } from '../../../../shared/syscall/netlink-socket.ts'

const FAMILY = 0x1c
const { EBUSY, ENOENT, EPERM } = constants.errno

const bytes = (...lines: string[]): Buffer => Buffer.from(lines.join('').replaceAll(' ', ''), 'hex')

function message(type: number, sequence: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32LE(16 + payload.length, 0)
  header.writeUInt16LE(type, 4)
  header.writeUInt32LE(sequence, 8)
  return Buffer.concat([header, payload, Buffer.alloc(-payload.length & 3)])
}

const error = (sequence: number, errno: number): Buffer => {
  const payload = Buffer.alloc(20)
  payload.writeInt32LE(-errno, 0)
  return message(2, sequence, payload)
}

/** nlctrl's answer: FAMILY has the group nbd_mc_group, number 5. */
const family = bytes(
  '01 02 0000',
  '0600 0100 1c00 0000',
  '2400 0780 2000 0180 0800 0200 05000000 1100 0100 6e62645f6d635f67726f757000 000000'
)

/** A kernel that is asked by netlink. */
class Kernel implements KernelSocket {
  /** Commands with the types of their attributes. */
  asked: [command: number, attributes: number[]][] = []
  joined: number[] = []
  readonly #queue: Buffer[] = []
  readonly #answers = new Map<number, (sequence: number) => Buffer[]>()

  constructor(hasFamily = true) {
    this.#answers.set(3, (sequence) => [
      ...(hasFamily ? [message(0x10, sequence, family)] : []),
      error(sequence, hasFamily ? 0 : ENOENT)
    ])
  }

  answer(command: number, ...payloads: Buffer[]): void {
    this.#answers.set(command, (sequence) => [
      ...payloads.map((payload) => message(FAMILY, sequence, payload)),
      error(sequence, 0)
    ])
  }

  refuse(command: number, errno: number): void {
    this.#answers.set(command, (sequence) => [error(sequence, errno)])
  }

  tell(payload: Buffer): void {
    this.#queue.push(message(FAMILY, 0, payload))
  }

  send(datagram: Buffer): void {
    const [request] = decodeMessages(datagram)
    const { command } = decodeGeneric(request!)
    if (request!.type === FAMILY) {
      this.asked.push([command, attributeList(request!.payload.subarray(4)).map(([type]) => type)])
    }
    const key = request!.type === FAMILY ? command + 100 : command
    this.#queue.push(...(this.#answers.get(key)?.(request!.sequence) ?? [error(request!.sequence, 95)]))
  }

  receive(): Buffer | undefined {
    return this.#queue.shift()
  }

  join(group: number): void {
    this.joined.push(group)
  }
}

const CONNECT = 101
const DISCONNECT = 102
const STATUS = 105

const settings = {
  size: 1024,
  blockSize: 512,
  serverFlags: 1,
  clientFlags: 0,
  timeout: 0,
  deadConnTimeout: 0,
  sockets: [7]
}

void t.test('kernel client - without the module it says so', async (t) => {
  t.throws(() => new KernelClient(new Kernel(false)), { kind: 'config', message: /modprobe nbd/ })
})

void t.test('kernel client - connects a device', async (t) => {
  const kernel = new Kernel()
  kernel.answer(CONNECT, bytes('01 01 0000', '0800 0100 03000000'))
  new KernelClient(kernel).connect(3, settings)
  t.same(kernel.asked, [[1, [1, 2, 3, 5, 6, 7]]])
})

void t.test('kernel client - what the kernel refuses is told with its reason', async (t) => {
  for (const [errno, reason] of [
    [EPERM, /cannot attach \/dev\/nbd3: only root/],
    [EBUSY, /cannot attach \/dev\/nbd3: it is in use/],
    [constants.errno.ENOMEM, /cannot attach \/dev\/nbd3: .*memory/]
  ] as const) {
    const kernel = new Kernel()
    kernel.refuse(CONNECT, errno)
    const client = new KernelClient(kernel)
    t.throws(() => client.connect(3, settings), { kind: 'config', message: reason })
  }
})

void t.test('kernel client - the state of a device', async (t) => {
  const kernel = new Kernel()
  const client = new KernelClient(kernel)
  const status = (connected: string): Buffer =>
    bytes('05 01 0000', '1800 0900 1400 0100 0800 0100 03000000 0500 0200', connected, '000000')
  kernel.answer(STATUS, status('01'))
  t.equal(client.isConnected(3), true)
  t.equal(client.isConnected(4), false, 'one that is not in the list')
  kernel.answer(STATUS, status('00'))
  t.equal(client.isConnected(3), false)
  kernel.answer(STATUS, bytes('05 01 0000', '0400 0900'))
  t.equal(client.isConnected(3), false, 'none is there yet')
})

void t.test('kernel client - disconnects a device', async (t) => {
  const kernel = new Kernel()
  kernel.answer(DISCONNECT)
  new KernelClient(kernel).disconnect(3)
  t.same(kernel.asked, [[2, [1]]])
})

void t.test(
  'kernel client - hears of connections that are lost, also in the middle of a question',
  async (t) => {
    const kernel = new Kernel()
    kernel.answer(DISCONNECT)
    const client = new KernelClient(kernel)
    client.watchLinks()
    t.same(kernel.joined, [5])
    kernel.tell(bytes('04 01 0000', '0800 0100 03000000'))
    kernel.tell(bytes('04 01 0000', '0800 0100 09000000'))
    client.disconnect(8)
    kernel.tell(bytes('04 01 0000', '0800 0100 03000000'))
    t.equal(client.deadLinks(3), 2)
    t.equal(client.deadLinks(3), 0)
  }
)

void t.test('kernel client - a kernel that does not answer, or answers with less', async (t) => {
  const silent: KernelSocket = { send: () => undefined, receive: () => undefined, join: () => undefined }
  t.throws(() => new KernelClient(silent), { kind: 'protocol', message: /does not answer/ })
})

void t.test('generic netlink - this kernel knows its own family, and not every name', async (t) => {
  const socket = NetlinkSocket.open(NETLINK_GENERIC)
  t.teardown(() => socket.close())
  const control = new GenericNetlink(socket, 'nlctrl', 1)
  t.ok(control.group('notify')! > 0, 'nlctrl tells of its group')
  const [answer] = control.ask(3, [{ type: 2, value: { text: 'nlctrl' } }])
  t.equal(answer!.attributes.get(1)?.readUInt16LE(0), 0x10)
  t.throws(() => new GenericNetlink(socket, 'no such family', 1), {
    kind: 'request',
    errno: ENOENT,
    message: /./
  })
  t.equal(
    new GenericNetlink(socket, 'nlctrl', 1).group('no such group'),
    undefined,
    'it can go on being asked'
  )
})
