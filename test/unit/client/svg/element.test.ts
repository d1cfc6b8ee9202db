import t from 'tap'
import { element, escapeXml, textElement } from '../../../../client/svg/element.ts'
import { parseXml } from '../../../helpers/xml.ts'

void t.test('escaping - nothing that a text says becomes a tag', async (t) => {
  const text = `<script>"a" & 'b'</script>`
  t.equal(escapeXml(text), '&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;')
  t.equal(parseXml(element('a', { b: text }, escapeXml(text))).text, text)
  t.equal(parseXml(element('a', { b: text }, escapeXml(text))).attributes['b'], text)
})

void t.test('escaping - what XML cannot contain is replaced', async (t) => {
  t.equal(escapeXml('a\u0000b\u001bc\ud800d\uffff'), 'a\ufffdb\ufffdc\ufffdd\ufffd')
  t.equal(escapeXml('\ud83d\ude00 \t\n'), '\ud83d\ude00 \t\n')
})

void t.test('element - attributes, rounded numbers, content', async (t) => {
  t.equal(element('rect', { x: 1.2345, class: 'a', id: undefined }), '<rect x="1.23" class="a"/>')
  t.equal(textElement(1, 2, 'c', 'a < b'), '<text x="1" y="2" class="c">a &lt; b</text>')
})
