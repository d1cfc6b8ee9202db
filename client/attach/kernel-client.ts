/** The kernel's NBD client: its devices, and what can be done with them. */
import { constants } from 'node:os'
import { configError, NBDError } from '../../shared/errors/nbd-error.ts'
import { GenericNetlink, type Datagrams } from './generic-netlink.ts'
import type { Attribute } from './netlink.ts'
import {
  connectAttributes,
  decodeIndex,
  decodeStatus,
  indexAttribute,
  NBD_GENL_CMD_CONNECT,
  NBD_GENL_CMD_DISCONNECT,
  NBD_GENL_CMD_LINK_DEAD,
  NBD_GENL_CMD_RECONFIGURE,
  NBD_GENL_CMD_STATUS,
  NBD_GENL_FAMILY_NAME,
  NBD_GENL_MCAST_GROUP_NAME,
  NBD_GENL_VERSION,
  reconfigureAttributes,
  type DeviceSettings
} from './nbd-netlink.ts'

const { EBUSY, EINVAL, ENOENT, EPERM } = constants.errno

/** `NetlinkSocket`, or what stands for it in a test. */
export interface KernelSocket extends Datagrams {
  join(group: number): void
}

/** How a device is called. */
export const deviceName = (index: number): string => `/dev/nbd${index}`

export class KernelClient {
  readonly #socket: KernelSocket
  readonly #family: GenericNetlink

  /**
   * @param socket of NETLINK_GENERIC; stays the caller's
   * @throws NBDError of kind `config` when the kernel has no NBD client
   */
  constructor(socket: KernelSocket) {
    this.#socket = socket
    try {
      this.#family = new GenericNetlink(socket, NBD_GENL_FAMILY_NAME, NBD_GENL_VERSION)
    } catch (error) {
      if (!NBDError.is(error) || error.errno !== ENOENT) throw error
      throw configError("this kernel has no NBD client: load its module ('modprobe nbd')", error)
    }
  }

  /** Whether a device is connected; false also when there is no such device yet. @throws NBDError */
  isConnected(index: number): boolean {
    const [answer] = this.#ask('ask for the state of', index, NBD_GENL_CMD_STATUS, [indexAttribute(index)])
    return answer !== undefined && decodeStatus(answer.attributes).get(index) === true
  }

  /**
   * Connects a device; the kernel then holds the sockets itself.
   *
   * @throws NBDError of kind `config`: nothing has changed then
   */
  connect(index: number, settings: DeviceSettings): void {
    this.#ask('attach', index, NBD_GENL_CMD_CONNECT, connectAttributes(index, settings))
  }

  /** Disconnects a device, and takes leave of its server. @throws NBDError of kind `config` */
  disconnect(index: number): void {
    this.#ask('detach', index, NBD_GENL_CMD_DISCONNECT, [indexAttribute(index)])
  }

  /** Gives a device new sockets for those that are dead. @throws NBDError of kind `config` */
  reconnect(index: number, sockets: readonly number[]): void {
    this.#ask('reconnect', index, NBD_GENL_CMD_RECONFIGURE, reconfigureAttributes(index, sockets))
  }

  /** From now on `deadLinks` hears of connections that are lost. @throws NBDError */
  watchLinks(): void {
    const group = this.#family.group(NBD_GENL_MCAST_GROUP_NAME)
    if (group === undefined) throw configError('this kernel does not tell of connections that are lost')
    this.#socket.join(group)
  }

  /** How many connections of a device were lost since the last call. @throws NBDError */
  deadLinks(index: number): number {
    return this.#family
      .events()
      .filter(
        ({ command, attributes }) => command === NBD_GENL_CMD_LINK_DEAD && decodeIndex(attributes) === index
      ).length
  }

  #ask(
    what: string,
    index: number,
    command: number,
    attributes: readonly Attribute[]
  ): ReturnType<GenericNetlink['ask']> {
    try {
      return this.#family.ask(command, attributes)
    } catch (error) {
      if (!NBDError.is(error) || error.kind !== 'request') throw error
      throw configError(`cannot ${what} ${deviceName(index)}: ${explain(error)}`, error)
    }
  }
}

function explain({ errno, message }: NBDError): string {
  if (errno === EPERM) return 'only root may do that (it takes CAP_SYS_ADMIN)'
  if (errno === EBUSY) return 'it is in use'
  if (errno === EINVAL) return `the kernel does not take it so: ${message}`
  return message
}
