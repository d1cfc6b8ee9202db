/** What a block driver of a test need not do: nothing is kept of what is written, and nothing is read at once. */
import type { BlockNode } from '../../shared/block/block-node.ts'

export const inertNode = {
  readOnly: false,
  limits: { requestAlignment: 1, optimalTransfer: 4096 },
  map: () => false,
  preadNowait: () => false,
  pwriteNowait: () => false,
  pwrite: async () => undefined,
  pwriteZeroes: async () => undefined,
  pdiscard: async () => undefined,
  flush: async () => undefined,
  prefetch: async () => undefined,
  blockStatus: async (_offset, length) => [{ length, flags: 0 }],
  close: async () => undefined
} satisfies Partial<BlockNode>
