/** SVG as text. */

export type Attributes = Record<string, string | number | undefined>

// What XML cannot contain at all, not even escaped.
// eslint-disable-next-line no-control-regex
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

/** Any text as the content of an element, or the value of an attribute. */
export const escapeXml = (text: string): string =>
  text.replace(FORBIDDEN, '\ufffd').replace(/[&<>"']/g, (character) => ESCAPES[character]!)

/** Coordinates to a hundredth of a pixel: more does not show. */
export const round = (value: number): number => Math.round(value * 100) / 100

/**
 * @param attributes are escaped, numbers rounded; those that are undefined are left out
 * @param content SVG, not escaped
 */
export function element(name: string, attributes: Attributes, ...content: string[]): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${typeof value === 'number' ? round(value) : escapeXml(value!)}"`)
    .join('')
  return content.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${content.join('')}</${name}>`
}

/** A line of text; its content is escaped. */
export const textElement = (x: number, y: number, className: string, content: string): string =>
  element('text', { x, y, class: className }, escapeXml(content))
