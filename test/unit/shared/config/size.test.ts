import t from 'tap'
import { formatSize, parseSize } from '../../../../shared/config/size.ts'

const K = 1024

const good: [string, number][] = [
  ['0', 0],
  ['1', 1],
  ['512', 512],
  ['512B', 512],
  ['1K', K],
  ['1k', K],
  ['1KiB', K],
  ['1kib', K],
  ['1KB', K],
  ['10M', 10 * K ** 2],
  ['1G', K ** 3],
  ['1.5G', 1.5 * K ** 3],
  ['0.5K', 512],
  ['0.25k', 256],
  ['1T', K ** 4],
  ['1P', K ** 5],
  ['0.001953125E', 2 * K ** 5],
  [' 1M ', K ** 2],
  ['007', 7],
  ['9007199254740991', 2 ** 53 - 1],
  ['7P', 7 * K ** 5]
]
for (const [text, bytes] of good) {
  void t.test(`parseSize - '${text}' is ${bytes}`, async (t) => {
    t.equal(parseSize(text, '--size'), bytes)
  })
}

const notSizes = [
  '',
  ' ',
  'K',
  'x',
  '-1',
  '+1',
  '1e3',
  '0x10',
  '1 K',
  '1X',
  '1KK',
  '1BB',
  '1iB',
  '1,5G',
  '.5G',
  '5.G',
  '1.G',
  'NaN',
  '1\n2'
]
const notWhole = ['0.3K', '1.1', '0.1B', '1.0001K']
const tooLarge = [
  '8P',
  '8E',
  '9007199254740992',
  '9007199254740993',
  '99999999999999999999',
  '1' + '0'.repeat(400)
]

for (const text of [...notSizes, ...notWhole, ...tooLarge]) {
  void t.test(
    `parseSize - '${text.slice(0, 30)}' is refused in one line that names the option`,
    async (t) => {
      t.throws(() => parseSize(text, '--size'), { kind: 'config', message: /^--size: / })
    }
  )
}

void t.test('formatSize - is for people', async (t) => {
  const cases: [number, string][] = [
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [K ** 3, '1 GiB'],
    [2 ** 53 - 1, '8.0 PiB']
  ]
  for (const [bytes, text] of cases) t.equal(formatSize(bytes), text)
})
