/**
 * What the kernel's NBD client is told by netlink, and tells.
 *
 * @see linux/nbd-netlink.h; nbd_genl_connect and its neighbours in drivers/block/nbd.c
 */
import { protocolError } from '../../shared/errors/nbd-error.ts'
import { attributeList, decodeAttributes, type Attribute } from './netlink.ts'

export const NBD_GENL_FAMILY_NAME = 'nbd'
export const NBD_GENL_VERSION = 1
export const NBD_GENL_MCAST_GROUP_NAME = 'nbd_mc_group'

export const NBD_GENL_CMD_CONNECT = 1
export const NBD_GENL_CMD_DISCONNECT = 2
export const NBD_GENL_CMD_RECONFIGURE = 3
export const NBD_GENL_CMD_LINK_DEAD = 4
export const NBD_GENL_CMD_STATUS = 5

const NBD_ATTR_INDEX = 1
const NBD_ATTR_SIZE_BYTES = 2
const NBD_ATTR_BLOCK_SIZE_BYTES = 3
const NBD_ATTR_TIMEOUT = 4
const NBD_ATTR_SERVER_FLAGS = 5
const NBD_ATTR_CLIENT_FLAGS = 6
const NBD_ATTR_SOCKETS = 7
const NBD_ATTR_DEAD_CONN_TIMEOUT = 8
const NBD_ATTR_DEVICE_LIST = 9

const NBD_SOCK_ITEM = 1
const NBD_SOCK_FD = 1
const NBD_DEVICE_ITEM = 1
const NBD_DEVICE_INDEX = 1
const NBD_DEVICE_CONNECTED = 2

export interface DeviceSettings {
  size: number
  blockSize: number
  /** Transmission flags of the protocol. */
  serverFlags: number
  /** Of NBD_CFLAG_*. */
  clientFlags: number
  /** For a request, in seconds; 0 for the kernel's own. */
  timeout: number
  /** For a connection that was lost to be replaced, in seconds; 0 for not at all. */
  deadConnTimeout: number
  /** Descriptors of this process; they stay its own. */
  sockets: readonly number[]
}

export const indexAttribute = (index: number): Attribute => ({ type: NBD_ATTR_INDEX, value: { u32: index } })

const socketsAttribute = (sockets: readonly number[]): Attribute => ({
  type: NBD_ATTR_SOCKETS,
  value: {
    nested: sockets.map((fd) => ({
      type: NBD_SOCK_ITEM,
      value: { nested: [{ type: NBD_SOCK_FD, value: { u32: fd } }] }
    }))
  }
})

/** Of NBD_GENL_CMD_CONNECT. */
export function connectAttributes(index: number, settings: DeviceSettings): Attribute[] {
  const number = (type: number, value: number): Attribute => ({ type, value: { u64: BigInt(value) } })
  return [
    indexAttribute(index),
    number(NBD_ATTR_SIZE_BYTES, settings.size),
    number(NBD_ATTR_BLOCK_SIZE_BYTES, settings.blockSize),
    number(NBD_ATTR_SERVER_FLAGS, settings.serverFlags),
    number(NBD_ATTR_CLIENT_FLAGS, settings.clientFlags),
    ...(settings.timeout > 0 ? [number(NBD_ATTR_TIMEOUT, settings.timeout)] : []),
    ...(settings.deadConnTimeout > 0 ? [number(NBD_ATTR_DEAD_CONN_TIMEOUT, settings.deadConnTimeout)] : []),
    socketsAttribute(settings.sockets)
  ]
}

/** Of NBD_GENL_CMD_RECONFIGURE: for each socket one that is dead is let go. */
export const reconfigureAttributes = (index: number, sockets: readonly number[]): Attribute[] => [
  indexAttribute(index),
  socketsAttribute(sockets)
]

/** The device that a message is about. @throws NBDError of kind `protocol` */
export function decodeIndex(attributes: Map<number, Buffer>): number {
  const content = attributes.get(NBD_ATTR_INDEX)
  if (content?.length !== 4) throw protocolError('a message about a device that does not say which')
  return content.readUInt32LE(0)
}

/** What NBD_GENL_CMD_STATUS tells: devices by index, and whether they are connected. @throws NBDError of kind `protocol` */
export function decodeStatus(attributes: Map<number, Buffer>): Map<number, boolean> {
  const list = attributes.get(NBD_ATTR_DEVICE_LIST)
  if (!list) throw protocolError('a status without a list of devices')
  const devices = new Map<number, boolean>()
  for (const [type, item] of attributeList(list)) {
    if (type !== NBD_DEVICE_ITEM) continue
    const device = decodeAttributes(item)
    const index = device.get(NBD_DEVICE_INDEX)
    const connected = device.get(NBD_DEVICE_CONNECTED)
    if (index?.length !== 4 || connected?.length !== 1) throw protocolError('a status of a device is cut off')
    devices.set(index.readUInt32LE(0), connected.readUInt8(0) !== 0)
  }
  return devices
}
