/** Questions to a family of generic netlink, one after the other. */
import { NBDError, protocolError } from '../../shared/errors/nbd-error.ts'
import { errnoText } from '../../shared/errors/system-error.ts'
import {
  attributeList,
  decodeAttributes,
  decodeError,
  decodeGeneric,
  decodeMessages,
  encodeRequest,
  NLMSG_ERROR,
  textOf,
  type Attribute,
  type NetlinkMessage
} from './netlink.ts'

const GENL_ID_CTRL = 0x10
const CTRL_VERSION = 1
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2
const CTRL_ATTR_MCAST_GROUPS = 7
const CTRL_ATTR_MCAST_GRP_NAME = 1
const CTRL_ATTR_MCAST_GRP_ID = 2

/** `NetlinkSocket`, or what stands for it in a test. */
export interface Datagrams {
  send(message: Buffer): void
  receive(): Buffer | undefined
}

export interface GenericMessage {
  command: number
  attributes: Map<number, Buffer>
}

interface Family {
  id: number
  /** Ids of multicast groups by name. */
  groups: Map<string, number>
}

export class GenericNetlink {
  readonly #socket: Datagrams
  readonly #version: number
  readonly #family: Family
  #sequence = 1
  /** What came unasked. */
  readonly #events: GenericMessage[] = []

  /**
   * Finds a family.
   *
   * @param socket stays the caller's
   * @param version of the family that is spoken
   * @throws NBDError of kind `request`; ENOENT when the kernel has no such family
   */
  constructor(socket: Datagrams, name: string, version: number) {
    this.#socket = socket
    this.#version = version
    this.#family = { id: GENL_ID_CTRL, groups: new Map() }
    const question = [{ type: CTRL_ATTR_FAMILY_NAME, value: { text: name } }]
    const [answer] = this.#ask(GENL_ID_CTRL, CTRL_VERSION, CTRL_CMD_GETFAMILY, question)
    const id = answer?.attributes.get(CTRL_ATTR_FAMILY_ID)
    if (id?.length !== 2) throw protocolError(`the kernel does not say the id of '${name}'`)
    this.#family = { id: id.readUInt16LE(0), groups: groupsOf(answer!) }
  }

  /** Id of a multicast group of the family. */
  group(name: string): number | undefined {
    return this.#family.groups.get(name)
  }

  /**
   * Asks the kernel to do something; it is done when this returns.
   *
   * @returns what it answers besides "done"
   * @throws NBDError of kind `request`, with errno
   */
  ask(command: number, attributes: readonly Attribute[]): GenericMessage[] {
    return this.#ask(this.#family.id, this.#version, command, attributes)
  }

  /** What was told unasked since the last call. @throws NBDError */
  events(): GenericMessage[] {
    for (let datagram = this.#socket.receive(); datagram; datagram = this.#socket.receive()) {
      for (const message of decodeMessages(datagram)) this.#keepEvent(message)
    }
    return this.#events.splice(0)
  }

  #ask(type: number, version: number, command: number, attributes: readonly Attribute[]): GenericMessage[] {
    const sequence = this.#sequence++
    this.#socket.send(encodeRequest({ type, sequence, command, version, attributes }))
    const answers: GenericMessage[] = []
    // The kernel has answered by now. The acknowledgement, or the error, is the last.
    for (;;) {
      const datagram = this.#socket.receive()
      if (!datagram) throw protocolError('the kernel does not answer by netlink')
      let ended = false
      for (const message of decodeMessages(datagram)) {
        if (message.sequence !== sequence) this.#keepEvent(message)
        else if (message.type !== NLMSG_ERROR) answers.push(decodeGeneric(message))
        else {
          checkError(message)
          ended = true
        }
      }
      if (ended) return answers
    }
  }

  #keepEvent(message: NetlinkMessage): void {
    if (message.type === this.#family.id) this.#events.push(decodeGeneric(message))
  }
}

function checkError(message: NetlinkMessage): void {
  const { errno, text } = decodeError(message)
  if (errno !== 0) throw new NBDError('request', text ?? errnoText(errno), { errno })
}

function groupsOf({ attributes }: GenericMessage): Map<string, number> {
  const groups = new Map<string, number>()
  for (const [, item] of attributeList(attributes.get(CTRL_ATTR_MCAST_GROUPS) ?? Buffer.alloc(0))) {
    const group = decodeAttributes(item)
    const name = group.get(CTRL_ATTR_MCAST_GRP_NAME)
    const id = group.get(CTRL_ATTR_MCAST_GRP_ID)
    if (name && id?.length === 4) groups.set(textOf(name), id.readUInt32LE(0))
  }
  return groups
}
