import t from 'tap'
import {
  attachPlan,
  deviceIndex,
  deviceSettings,
  type AttachArguments
} from '../../../../client/cli/attach-options.ts'
import type { Negotiated } from '../../../../client/negotiation/negotiated.ts'

const HAS_FLAGS = 1
const READ_ONLY = 2
const MULTI_CONN = 256

const negotiated: Pick<Negotiated, 'size' | 'flags' | 'blockSizes'> = {
  size: 1024 * 1024,
  flags: HAS_FLAGS,
  blockSizes: { minimum: 1, preferred: 4096, maximum: 2 ** 25 }
}

const plan = { connections: 1, timeout: 0, blockSize: undefined, readOnly: false, persist: false }

const settings = (
  changes: Partial<typeof negotiated>,
  planned: Partial<Parameters<typeof deviceSettings>[0]> = {}
): ReturnType<typeof deviceSettings> => deviceSettings({ ...plan, ...planned }, { ...negotiated, ...changes })

void t.test('device - what the kernel is told', async (t) => {
  t.same(settings({}), {
    size: 1024 * 1024,
    blockSize: 512,
    serverFlags: HAS_FLAGS,
    clientFlags: 0,
    timeout: 0,
    deadConnTimeout: 0
  })
  t.equal(settings({}, { readOnly: true }).serverFlags, HAS_FLAGS | READ_ONLY)
  t.equal(settings({}, { timeout: 30 }).timeout, 30)
  t.ok(settings({}, { persist: true }).deadConnTimeout > 3600)
})

void t.test('device - the block size is at least a sector, and suits the server', async (t) => {
  const minimum = (size: number): Partial<typeof negotiated> => ({
    blockSizes: { ...negotiated.blockSizes, minimum: size }
  })
  t.equal(settings(minimum(512)).blockSize, 512)
  t.equal(settings(minimum(4096)).blockSize, 4096)
  t.equal(settings(minimum(512), { blockSize: 2048 }).blockSize, 2048)
  t.throws(() => settings(minimum(8192)), { kind: 'config', message: /block-size/ })
  t.throws(() => settings(minimum(4096), { blockSize: 512 }), { kind: 'config', message: /block-size/ })
})

void t.test('device - what the kernel could not use', async (t) => {
  t.throws(() => settings({ size: 1000 }), { kind: 'config', message: /1000/ })
  t.throws(() => settings({ size: 0 }), { kind: 'config', message: /0/ })
  t.throws(() => settings({ size: Infinity }), { kind: 'config', message: /larger/ })
  t.throws(() => settings({}, { connections: 2 }), { kind: 'config', message: /multi-conn/ })
  t.ok(settings({ flags: HAS_FLAGS | MULTI_CONN }, { connections: 2 }))
})

void t.test('device - its number', async (t) => {
  t.same(['/dev/nbd0', 'nbd15', '/dev/nbd1048575'].map(deviceIndex), [0, 15, 1048575])
  for (const wrong of ['', 'nbd', '/dev/sda', '/dev/nbd01', 'nbd1048576', '/dev/nbd0p1', 'nbd-1']) {
    t.throws(() => deviceIndex(wrong), { kind: 'config', message: /is not an NBD device/ }, wrong)
  }
})

void t.test('attach - values that cannot be', async (t) => {
  const plan = (args: Partial<AttachArguments>): unknown =>
    attachPlan({ connections: '1', timeout: '0', ...args } as AttachArguments)
  t.same(plan({ connections: '4', timeout: '30', blockSize: '4K', readOnly: true }), {
    connections: 4,
    timeout: 30,
    blockSize: 4096,
    readOnly: true,
    persist: false
  })
  for (const blockSize of ['8K', '1000', '256', '0', 'x']) {
    t.throws(() => plan({ blockSize }), { kind: 'config', message: /--block-size/ }, blockSize)
  }
  t.throws(() => plan({ connections: '0' }), { kind: 'config', message: /--connections/ })
  t.throws(() => plan({ timeout: '1.5' }), { kind: 'config', message: /--timeout/ })
})
