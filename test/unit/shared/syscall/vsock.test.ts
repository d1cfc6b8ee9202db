import t from 'tap'
import { encodeTimeval } from '../../../../shared/syscall/vsock.ts'

void t.test('vsock - a time limit is one that the kernel takes', (t) => {
  const cases: [ms: number, seconds: bigint, microseconds: bigint][] = [
    [5000, 5n, 0n],
    [1500, 1n, 500_000n],
    [999.5, 1n, 0n],
    [1999.7, 2n, 0n],
    [0, 0n, 1000n]
  ]
  for (const [ms, seconds, microseconds] of cases) {
    const { buffer } = encodeTimeval(ms)
    t.same([buffer.readBigInt64LE(0), buffer.readBigInt64LE(8)], [seconds, microseconds], `${ms} ms`)
  }
  t.end()
})
