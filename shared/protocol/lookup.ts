/**
 * Names of the protocol's numbers, for logs and messages. The tables are derived from constants.ts, so a
 * constant cannot be without its name.
 *
 * @see nbd_opt_lookup, nbd_cmd_lookup and their like in QEMU's nbd/common.c
 */
import * as constants from './constants.ts'

function table(prefix: string, except: string[] = []): Map<number, string> {
  const names = new Map<number, string>()
  for (const [name, value] of Object.entries(constants)) {
    if (typeof value !== 'number' || !name.startsWith(prefix)) continue
    if (except.some((other) => name.startsWith(other))) continue
    names.set(value, name)
  }
  return names
}

const options = table('NBD_OPT_')
const replies = table('NBD_REP_', ['NBD_REP_FLAG_'])
const infos = table('NBD_INFO_')
const commands = table('NBD_CMD_', ['NBD_CMD_FLAG_'])
const errors = table('NBD_E')

const named = (names: Map<number, string>, kind: string, value: number): string =>
  names.get(value) ?? `${kind} ${value >>> 0 > 0xffff ? '0x' + (value >>> 0).toString(16) : value}`

/** `NBD_OPT_GO`, or `option 99` for a number that the specification does not know. */
export const nbdOptLookup = (option: number): string => named(options, 'option', option)
/** `NBD_REP_ACK`, or `reply 99`. */
export const nbdRepLookup = (type: number): string => named(replies, 'reply', type)
/** `NBD_INFO_EXPORT`, or `info 99`. */
export const nbdInfoLookup = (info: number): string => named(infos, 'info', info)
/** `NBD_CMD_READ`, or `command 99`. */
export const nbdCmdLookup = (command: number): string => named(commands, 'command', command)
/** `NBD_EIO`, `success`, or `error 99`. */
export const nbdErrLookup = (error: number): string =>
  error === 0 ? 'success' : named(errors, 'error', error)
