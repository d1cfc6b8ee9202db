import t from 'tap'
import { connect } from '../../client/index.ts'
import { Mqnbd } from '../helpers/mqnbd.ts'

void t.test('-v - tells what clients do; without it nothing is told while all is well', async (t) => {
  const quiet = await Mqnbd.serve(t, ['memory:1M'])
  const verbose = await Mqnbd.serve(t, ['memory:1M', '-v'])
  for (const { uri } of [quiet, verbose]) await (await connect(uri)).close()
  await verbose.process.output('stderr', /client connected[^]*client uses an export[^]*client disconnected/)
  t.equal(quiet.process.stderr, '')
})
