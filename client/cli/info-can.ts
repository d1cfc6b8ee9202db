/** The questions of `mqnbd info --is`, `--can` and `--has`, in nbdinfo's spellings. */
import { configError } from '../../shared/errors/nbd-error.ts'
import type { NBDDisk } from '../index.ts'

type Feature = (disk: NBDDisk) => boolean

// What extended headers bring is structured, too.
const isStructured: Feature = ({ packets }) => packets !== 'simple'
const isExtended: Feature = ({ packets }) => packets === 'extended'
const isReadOnly: Feature = ({ readOnly }) => readOnly
const hasFastZero: Feature = ({ flags }) => flags.canFastZero
const hasMultiConn: Feature = ({ flags }) => flags.canMultiConn

const features = new Map<string, Feature>([
  ['connect', () => true],
  ['read', () => true],
  ['write', ({ readOnly }) => !readOnly],
  ['tls', ({ tls }) => tls],
  ['sr', isStructured],
  ['structured', isStructured],
  ['structured-reply', isStructured],
  ['structured-replies', isStructured],
  ['extended-header', isExtended],
  ['extended-headers', isExtended],
  ['block-status-payload', ({ flags }) => flags.canBlockStatusPayload],
  ['readonly', isReadOnly],
  ['read-only', isReadOnly],
  ['rotational', ({ flags }) => flags.rotational],
  ['cache', ({ flags }) => flags.canCache],
  ['df', ({ flags }) => flags.canDf],
  ['fastzero', hasFastZero],
  ['fast-zero', hasFastZero],
  ['flush', ({ flags }) => flags.canFlush],
  ['fua', ({ flags }) => flags.canFua],
  ['multiconn', hasMultiConn],
  ['multi-conn', hasMultiConn],
  ['trim', ({ flags }) => flags.canTrim],
  ['zero', ({ flags }) => flags.canZero]
])

/** @throws NBDError of kind `config` when there is no such question: not a usage error, whose status would be an answer */
export function answer(disk: NBDDisk, name: string): boolean {
  const feature = features.get(name.toLowerCase().replace(/[ _]/g, '-'))
  if (!feature) throw configError(`'${name}' is nothing that --is, --can or --has can tell`)
  return feature(disk)
}
