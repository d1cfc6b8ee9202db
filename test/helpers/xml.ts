/** Enough of an XML parser to see that a document is one. */

export interface XmlElement {
  name: string
  attributes: Record<string, string>
  text: string
  children: XmlElement[]
}

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }

/** @throws Error when the document is not well-formed */
export function parseXml(document: string): XmlElement {
  const root: XmlElement = { name: '', attributes: {}, text: '', children: [] }
  const open = [root]
  let at = 0
  // A tag, with its attributes, or text up to the next one.
  for (const match of document.matchAll(
    /<(\/?)([a-zA-Z]+)((?:\s+[a-zA-Z][\w-]*="[^"<]*")*)\s*(\/?)>|[^<]+/g
  )) {
    if (match.index !== at) throw new Error(`not XML at ${at}: ${document.slice(at, at + 40)}`)
    at += match[0].length
    const [whole, closes, name, attributes, empty] = match
    if (name === undefined) open.at(-1)!.text += decode(whole)
    else if (closes) close(open, name)
    else {
      const element: XmlElement = { name, attributes: attributesOf(attributes!), text: '', children: [] }
      open.at(-1)!.children.push(element)
      if (!empty) open.push(element)
    }
  }
  if (at !== document.length || open.length !== 1 || root.children.length !== 1)
    throw new Error('not one element')
  return root.children[0]!
}

/** All elements of a name, in order. */
export const elementsOf = (element: XmlElement, name: string): XmlElement[] =>
  element.children.flatMap((child) => [...(child.name === name ? [child] : []), ...elementsOf(child, name)])

function close(open: XmlElement[], name: string): void {
  const element = open.pop()
  if (element?.name !== name || open.length === 0) throw new Error(`</${name}> closes <${element?.name}>`)
}

const attributesOf = (text: string): Record<string, string> =>
  Object.fromEntries(
    [...text.matchAll(/([a-zA-Z][\w-]*)="([^"]*)"/g)].map(([, name, value]) => [name!, decode(value!)])
  )

function decode(text: string): string {
  return text.replace(/&([^;]*);?/g, (whole, name: string) => {
    const character = ENTITIES[name]
    if (character === undefined || !whole.endsWith(';')) throw new Error(`'${whole}' is no entity`)
    return character
  })
}
