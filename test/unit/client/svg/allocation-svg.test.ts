import t from 'tap'
import { allocationSvg } from '../../../../client/svg/allocation-svg.ts'
import { elementsOf, parseXml, type XmlElement } from '../../../helpers/xml.ts'

const MiB = 1024 * 1024

const draw = (...args: Parameters<typeof allocationSvg>): XmlElement => parseXml(allocationSvg(...args))

const texts = (svg: XmlElement): string[] => elementsOf(svg, 'text').map(({ text }) => text)

/** Pixels that a class covers, in the rows (the legend's squares are 13 high). */
const covered = (svg: XmlElement, className: string): number =>
  elementsOf(svg, 'rect')
    .filter(({ attributes }) => attributes['class'] === `area ${className}` && attributes['height'] === '12')
    .reduce((sum, { attributes }) => sum + Number(attributes['width']), 0)

void t.test('allocation - totals of each kind, and areas in proportion', async (t) => {
  const svg = draw(
    32 * MiB,
    [
      { offset: 0, length: 8 * MiB, flags: 0 },
      { offset: 8 * MiB, length: 16 * MiB, flags: 3 },
      { offset: 24 * MiB, length: 4 * MiB, flags: 2 },
      { offset: 28 * MiB, length: 4 * MiB, flags: 1 }
    ],
    'a <disk>'
  )
  t.same(texts(svg).slice(0, 5), [
    'a <disk>',
    'data: 8 MiB (25.0%)',
    'zero: 4 MiB (12.5%)',
    'hole: 4 MiB (12.5%)',
    'hole,zero: 16 MiB (50.0%)'
  ])
  t.same(
    ['data', 'zero', 'hole'].map((name) => covered(svg, name)),
    [8 * 720, 4 * 720, 4 * 720]
  )
  t.same(texts(svg).slice(5, 8), ['0 B', '1 MiB', '2 MiB'], 'each row says where it begins')
})

void t.test('allocation - a little data in a large hole shows, palely', async (t) => {
  const TiB = 1024 * 1024 * MiB
  const svg = draw(64 * TiB, [
    { offset: 0, length: 40 * TiB, flags: 3 },
    { offset: 40 * TiB, length: 512, flags: 0 },
    { offset: 40 * TiB + 512, length: 24 * TiB - 512, flags: 3 }
  ])
  t.equal(covered(svg, 'data'), 1)
  const [pixel] = elementsOf(svg, 'rect').filter(({ attributes }) => attributes['fill-opacity'] !== undefined)
  t.match(pixel, { attributes: { class: 'area data', 'fill-opacity': '0.35' } })
})

void t.test('allocation - a great many extents make no more parts than there are pixels', async (t) => {
  const count = 300_000
  const extents = Array.from({ length: count }, (_, i) => ({
    offset: i * 4096,
    length: 4096,
    flags: i % 2 ? 3 : 0
  }))
  const document = allocationSvg(count * 4096, extents)
  t.ok(document.length < 3 * MiB, `${document.length} bytes`)
  t.ok(elementsOf(parseXml(document), 'rect').length < 32 * 720 + 100)
  t.match(texts(parseXml(document))[1], /^data: .* \(50\.0%\)$/)
})

void t.test('allocation - disks that are empty, small, or not a whole number of rows', async (t) => {
  t.match(texts(draw(0, [])), ['Allocation'])
  t.ok(texts(draw(0, [])).includes('the disk is empty'))
  const one = draw(1, [{ offset: 0, length: 1, flags: 0 }])
  t.ok(covered(one, 'data') > 1 && covered(one, 'data') < 2, 'of 720 pixels for 512 bytes')
  const odd = draw(3 * MiB + 5, [{ offset: 0, length: 3 * MiB + 5, flags: 0 }])
  t.ok(
    Math.abs(covered(odd, 'data') - ((3 * MiB + 5) / (128 * 1024)) * 720) < 0.1,
    String(covered(odd, 'data'))
  )
})

void t.test(
  'allocation - what no extent tells of counts as data, what goes beyond the end does not count',
  async (t) => {
    const svg = draw(4 * MiB, [
      { offset: MiB, length: MiB, flags: 3 },
      { offset: 3 * MiB, length: 5 * MiB, flags: 3 }
    ])
    t.match(texts(svg)[1], 'data: 2 MiB (50.0%)')
    t.match(texts(svg)[4], 'hole,zero: 2 MiB (50.0%)')
  }
)

void t.test('allocation - an extent ends where its last byte is, at any pixel', async (t) => {
  const size = 720 * 1024 * 32
  for (let k = 1; k < 720; k += 23) {
    const edge = k * 1024
    const svg = draw(size, [
      { offset: 0, length: edge, flags: 3 },
      { offset: edge, length: size - edge, flags: 0 }
    ])
    const data = elementsOf(svg, 'rect').find(
      ({ attributes }) => attributes['class'] === 'area data' && attributes['height'] === '12'
    )!
    const truth = 108 + (edge / (1024 * 1024)) * 720
    if (Math.abs(Number(data.attributes['x']) - truth) > 1)
      t.fail(`${edge}: ${data.attributes['x']}, not ${truth}`)
  }
  t.pass('all do')
})
