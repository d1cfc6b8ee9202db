/** mqnbd/block: opening images, and adding drivers. */
import './drivers/index.ts'

export type {
  BlockExtent,
  BlockLimits,
  BlockMap,
  BlockNode,
  NodeHandle,
  WriteZeroesOptions
} from './block-node.ts'
export { openNode, registerDriver, type BlockDriver, type NodeOptions } from './driver-registry.ts'
export { NodeTable } from './node-table.ts'
export { openImage, type ImageOptions } from './open-image.ts'
