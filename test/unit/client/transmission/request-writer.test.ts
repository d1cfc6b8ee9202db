import t from 'tap'
import { PendingRequest } from '../../../../client/transmission/pending-request.ts'
import { RequestWriter } from '../../../../client/transmission/request-writer.ts'
import { NBDError } from '../../../../shared/errors/nbd-error.ts'
import { QIOChannelNull } from '../../../../shared/io/channel-null.ts'
import { keptMemory } from '../../../../shared/io/memory-pool.ts'
import { NBD_MODE_SIMPLE } from '../../../../shared/protocol/nbd-mode.ts'
import { NBD_CMD_FLUSH } from '../../../helpers/raw-constants.ts'
import { waitFor } from '../../../helpers/wait-for.ts'

const FLUSH = { type: NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 }

/** A peer that has gone. */
class GoneChannel extends QIOChannelNull {
  override writev(): never {
    throw new NBDError('transport', 'gone')
  }
}

/** What requests are built in. @returns bytes of the pool, when one was sent, or could not be */
async function keptAfter(channel: QIOChannelNull): Promise<number> {
  let failed = false
  const writer = new RequestWriter(channel, NBD_MODE_SIMPLE, {
    failed: () => (failed = true),
    cut: () => undefined
  })
  const ignore = (): void => undefined
  writer.add(new PendingRequest(FLUSH, ignore, ignore))
  if (channel instanceof GoneChannel) await waitFor('the failure', () => failed)
  else await new Promise(setImmediate)
  return keptMemory()
}

void t.test('RequestWriter - what requests are built in is given back, also when they fail', async (t) => {
  const kept = await keptAfter(new QIOChannelNull())
  t.ok(kept > 0)
  t.equal(await keptAfter(new GoneChannel()), kept)
})
