import t from 'tap'
import { connect } from '../../client/index.ts'
import {
  NBD_INFO_BLOCK_SIZE,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ERR_POLICY
} from '../helpers/raw-constants.ts'
import { u16, u32 } from '../helpers/raw-wire.ts'
import { context, go, reply, serverWith } from '../unit/client/helpers/handshakes.ts'
import {
  FLAGS,
  greeting,
  infoExport,
  optionReply,
  SIZE,
  type Handshake
} from '../unit/client/helpers/scripted-server.ts'

void t.test('client - works with what a server may leave out, or add', async (t) => {
  const scripts: Record<string, Handshake> = {
    'neither structured replies nor contexts': {
      answers: reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_POLICY, Buffer.from('no'))
    },
    'a context, and then an error': {
      answers: {
        [NBD_OPT_SET_META_CONTEXT]: [
          context(1, 'base:allocation'),
          optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_POLICY)
        ]
      }
    },
    'unknown handshake flags': { greeting: greeting(0xffff) },
    'unknown information, and more than once': {
      answers: go(u16(77), infoExport(1n, 0), Buffer.alloc(4096, 0xee), infoExport())
    }
  }
  for (const [name, script] of Object.entries(scripts)) {
    const disk = await connect(await serverWith(t, script))
    t.equal(disk.size, Number(SIZE), name)
    t.equal(disk.flags.canBlockStatus, name.startsWith('unknown'), name)
    await disk.close()
  }
})

void t.test('client - flags that contradict each other are not believed', async (t) => {
  const CONTRADICTING = FLAGS | (1 << 7) | (1 << 11)
  const disk = await connect(
    await serverWith(t, {
      answers: {
        ...reply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_POLICY),
        ...go(
          infoExport(SIZE, CONTRADICTING),
          Buffer.concat([u16(NBD_INFO_BLOCK_SIZE), u32(1), u32(512), u32(512)])
        )
      }
    })
  )
  t.equal(disk.flags.canDf, false, 'DF without structured replies')
  t.equal(disk.flags.canFastZero, false, 'fast zero without zero')
  t.equal(disk.flags.canFlush, true)
  t.strictSame(disk.blockSizes, { minimum: 1, preferred: 512, maximum: 512 })
  await disk.close()
})
