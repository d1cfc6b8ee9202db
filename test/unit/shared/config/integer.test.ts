import t from 'tap'
import { parseInteger } from '../../../../shared/config/integer.ts'

void t.test('parseInteger - takes the whole range, and its ends', async (t) => {
  for (const [text, value] of [
    ['0', 0],
    ['1', 1],
    ['65535', 65535],
    ['00080', 80]
  ] as const) {
    t.equal(parseInteger(text, '--port', 0, 65535), value)
  }
})

void t.test(
  'parseInteger - refuses everything else in one line that names the option and the range',
  async (t) => {
    const bad = [
      '',
      ' ',
      '-1',
      '+1',
      '65536',
      '1.5',
      '1e3',
      '0x10',
      'x',
      '1x',
      ' 1',
      'NaN',
      'Infinity',
      '9'.repeat(400),
      '१'
    ]
    for (const text of bad) {
      const expected = { kind: 'config', message: /^--port: .* is not a number from 0 to 65535$/ }
      t.throws(() => parseInteger(text, '--port', 0, 65535), expected, `'${text}'`)
    }
    t.throws(() => parseInteger('0', '--iothreads', 1, 64), { kind: 'config', message: /^--iothreads/ })
  }
)
