import t from 'tap'
import { Mqnbd } from '../helpers/mqnbd.ts'
import { RawClient } from '../helpers/raw-client.ts'
import { NBD_CMD_READ, NBD_CMD_WRITE, NBD_EINVAL, NBD_ENOSPC } from '../helpers/raw-constants.ts'
import { MiB, request } from '../helpers/raw-wire.ts'

const MAX = 32 * MiB
const large = await Mqnbd.serve(t, ['memory:1G'])
const small = await Mqnbd.serve(t, ['memory:1M'])

/** Looks like requests, should the server ever take it for such. */
const payload = (length: number): Buffer =>
  Buffer.alloc(length, request({ type: NBD_CMD_READ, length: 1, cookie: 9n }))

void t.test('R25 - a WRITE of 32 MiB is carried out', async (t) => {
  const client = await RawClient.transmit(t, large)
  t.equal((await client.call({ type: NBD_CMD_WRITE, offset: 5, payload: payload(MAX) })).error, 0)
  t.ok((await client.call({ type: NBD_CMD_READ, offset: 5, length: MAX })).data.equals(payload(MAX)))
})

for (const structured of [false, true]) {
  const form = structured ? 'structured' : 'simple'
  void t.test(`R25 - a WRITE beyond 32 MiB is read, dropped and answered by EINVAL, ${form}`, async (t) => {
    const client = await RawClient.transmit(t, large, { structured })
    for (const length of [MAX + 1, 128 * MiB]) {
      const reply = await client.call({
        type: NBD_CMD_WRITE,
        offset: 64 * MiB,
        cookie: 3n,
        payload: payload(length)
      })
      t.equal(reply.error, NBD_EINVAL, `${length} bytes`)
      t.equal(reply.cookie, 3n)
    }
    const { data } = await client.call({ type: NBD_CMD_READ, offset: 64 * MiB, length: 4096 })
    t.ok(data.equals(Buffer.alloc(4096)), 'nothing was written')
  })
}

void t.test('R25 - a WRITE of 32 MiB beyond the end of a small export is ENOSPC, not the end', async (t) => {
  const client = await RawClient.transmit(t, small)
  t.equal((await client.call({ type: NBD_CMD_WRITE, payload: payload(MAX) })).error, NBD_ENOSPC)
  t.equal((await client.call({ type: NBD_CMD_READ, length: 1 })).error, 0)
})

void t.test('R25 - a WRITE that announces more than 128 MiB ends the connection', async (t) => {
  for (const length of [128 * MiB + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
    for (const server of [large, small]) {
      const client = await RawClient.transmit(t, server)
      client.send(request({ type: NBD_CMD_WRITE, length }))
      t.equal((await client.closed()).length, 0, `${length} bytes`)
    }
  }
})

void t.test('READ - beyond 32 MiB is EINVAL, and the connection lives', async (t) => {
  for (const structured of [false, true]) {
    const client = await RawClient.transmit(t, large, { structured })
    t.equal((await client.call({ type: NBD_CMD_READ, length: MAX })).error, 0)
    t.equal((await client.call({ type: NBD_CMD_READ, length: MAX + 1 })).error, NBD_EINVAL)
    t.equal((await client.call({ type: NBD_CMD_READ, length: 0x80000000 })).error, NBD_EINVAL)
    t.equal((await client.call({ type: NBD_CMD_READ, length: 1 })).error, 0)
  }
})
