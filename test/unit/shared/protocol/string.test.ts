import t from 'tap'
import { decodeString, encodeTruncated, stringProblem } from '../../../../shared/protocol/string.ts'

void t.test('decodeString - gives back any text of up to 4096 bytes', async (t) => {
  for (const text of [
    '',
    'disk',
    'dïsk \u{1f4be}',
    '\ufeffbom',
    '\r\n\t\x7f',
    '\uffff',
    'x'.repeat(4096),
    'é'.repeat(2048)
  ]) {
    t.equal(decodeString(Buffer.from(text)), text)
  }
})

void t.test('decodeString - says what is wrong with what is no string of the protocol', async (t) => {
  t.match(decodeString(Buffer.alloc(4097, 'x')), { problem: /4097 bytes/ })
  for (const bytes of [[0], [0x61, 0], [0, 0x61]]) {
    t.match(decodeString(Buffer.from(bytes)), { problem: /NUL/ })
  }
  const notUtf8 = [
    [0xff],
    [0x80],
    [0xc3],
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0x61, 0xe2, 0x82]
  ]
  for (const bytes of notUtf8) t.match(decodeString(Buffer.from(bytes)), { problem: /UTF-8/ }, bytes.join())
})

void t.test('stringProblem - counts bytes, not characters', async (t) => {
  t.equal(stringProblem('é'.repeat(2048)), undefined)
  t.type(stringProblem('é'.repeat(2048) + 'x'), 'string')
  t.type(stringProblem('a\0b'), 'string')
  t.equal(stringProblem(''), undefined)
})

void t.test('encodeTruncated - keeps what fits, and cuts between characters', async (t) => {
  for (const text of ['', 'short', 'x'.repeat(4096), '€'.repeat(1365) + 'x']) {
    t.ok(encodeTruncated(text).equals(Buffer.from(text)))
  }
  for (const character of ['x', 'é', '€', '\u{1f4be}']) {
    for (let shift = 0; shift < 5; shift++) {
      const whole = 'x'.repeat(shift) + character.repeat(4200)
      const cut = encodeTruncated(whole)
      t.ok(cut.length <= 4096 && cut.length > 4096 - 4, `${cut.length} bytes`)
      const text = new TextDecoder('utf-8', { fatal: true }).decode(cut)
      t.ok(whole.startsWith(text))
    }
  }
})
