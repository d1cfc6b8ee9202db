/**
 * The `unmap-policy` driver: the node that stands above another whose options say what may become a hole. Discards may do nothing,
 * and what is written may be looked at for zeroes.
 *
 * Concurrency: that of the node below.
 *
 * @see BDRV_O_UNMAP and bdrv_aligned_pwritev, detect_zeroes, in QEMU's block.c and block/io.c
 */
import { bugError, configError } from '../../../errors/nbd-error.ts'
import { isZero, type Memory } from '../../../syscall/memory.ts'
import type { BlockNode, NodeHandle, WriteZeroesOptions } from '../../block-node.ts'
import { attachNode, type BlockDriver, type NodeOptions } from '../../driver-registry.ts'
import { FilterNode } from '../../filter-node.ts'

export const DISCARD_MODES = ['ignore', 'unmap'] as const
export const DETECT_ZEROES_MODES = ['off', 'on', 'unmap'] as const

/** qemu-nbd has other words for the two. @see bdrv_parse_discard_flags */
export const discardMode = (word: 'ignore' | 'off' | 'unmap' | 'on'): (typeof DISCARD_MODES)[number] =>
  word === 'ignore' || word === 'off' ? 'ignore' : 'unmap'

/** By QEMU's names. */
export interface UnmapOptions {
  /** Whether discards are passed on, and zeroes may become holes where a client lets them; `unmap` if not given. */
  discard?: (typeof DISCARD_MODES)[number] | undefined
  /** Whether a write of nothing but zeroes is a request for zeroes, and with `unmap` for a hole; `off` if not given. */
  'detect-zeroes'?: (typeof DETECT_ZEROES_MODES)[number] | undefined
}

interface UnmapPolicyHandle extends NodeHandle {
  child: NodeHandle
  policy: UnmapPolicy
}

const DRIVER = 'unmap-policy'

/** What options ask for. */
export type UnmapPolicy = Required<{ [K in keyof UnmapOptions]: NonNullable<UnmapOptions[K]> }>

/** @throws NBDError of kind `config` when they contradict each other */
export function unmapPolicy({
  discard = 'unmap',
  'detect-zeroes': detect = 'off'
}: UnmapOptions): UnmapPolicy {
  if (detect === 'unmap' && discard === 'ignore')
    throw configError('detect-zeroes=unmap is of no use with discard=ignore')
  return { discard, 'detect-zeroes': detect }
}

/** @param node is closed with what is returned @returns the node itself when nothing else than usual is asked for */
export const withUnmapPolicy = (node: BlockNode, policy: UnmapPolicy): BlockNode =>
  policy.discard === 'unmap' && policy['detect-zeroes'] === 'off' ? node : new UnmapPolicyNode(node, policy)

class UnmapPolicyNode extends FilterNode {
  readonly #policy: UnmapPolicy
  readonly #detects: boolean

  constructor(child: BlockNode, policy: UnmapPolicy) {
    super(child)
    this.#policy = policy
    this.#detects = policy['detect-zeroes'] !== 'off'
  }

  override pwriteNowait(address: number, offset: number, length: number): boolean {
    if (this.#detects && isZero(address, length)) return false
    return this.child.pwriteNowait(address, offset, length)
  }

  override pwrite(memory: Memory, at: number, offset: number, length: number, fua = false): Promise<void> {
    if (!this.#detects || !isZero(memory.address + at, length))
      return this.child.pwrite(memory, at, offset, length, fua)
    const mayUnmap = this.#policy['detect-zeroes'] === 'unmap'
    return this.child.pwriteZeroes(offset, length, { mayUnmap, noFallback: false, fua })
  }

  override pwriteZeroes(offset: number, length: number, options: WriteZeroesOptions): Promise<void> {
    const mayUnmap = options.mayUnmap && this.#policy.discard === 'unmap'
    return this.child.pwriteZeroes(offset, length, { ...options, mayUnmap })
  }

  override pdiscard(offset: number, length: number): Promise<void> {
    return this.#policy.discard === 'unmap' ? this.child.pdiscard(offset, length) : Promise.resolve()
  }

  handle(): UnmapPolicyHandle {
    return { driver: DRIVER, child: this.child.handle(), policy: this.#policy }
  }
}

/** Nobody opens one: `openNode` puts it above what it opens. */
export const unmapPolicyDriver: BlockDriver<NodeOptions, UnmapPolicyHandle> = {
  name: DRIVER,
  open: () => Promise.reject(bugError(`a node of '${DRIVER}' is opened by the options of another`)),
  attach: ({ child, policy }) => new UnmapPolicyNode(attachNode(child), policy)
}
