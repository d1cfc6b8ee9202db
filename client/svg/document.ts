/** A whole picture: size, name for those who cannot see it, and colours for light and for dark. */
import { element, escapeXml } from './element.ts'

/** Lines (`stroke`) and areas (`fill`) of a series take these by its class. */
export type SeriesColours = Record<string, { light: string; dark: string }>

const PAPER = { light: '#ffffff', dark: '#16181d' }
const INK = { light: '#1c1f24', dark: '#e8eaed' }
const QUIET = { light: '#5c6470', dark: '#9aa3af' }
const GRID = { light: '#e3e6ea', dark: '#2c3038' }

/** Space around everything. */
export const MARGIN = 24

/**
 * @param title what it shows, also for those who cannot see it
 * @param colours of the classes that its elements have
 */
export function svgDocument(
  { width, height, title, colours }: { width: number; height: number; title: string; colours: SeriesColours },
  ...content: string[]
): string {
  const size = { width, height, viewBox: `0 0 ${width} ${height}` }
  return (
    element(
      'svg',
      { xmlns: 'http://www.w3.org/2000/svg', ...size, role: 'img' },
      '\n',
      ...[
        element('title', {}, escapeXml(title)),
        element('style', {}, style(colours)),
        element('rect', { class: 'paper', width, height }),
        ...content
      ].map((part) => `${part}\n`)
    ) + '\n'
  )
}

const style = (colours: SeriesColours): string => `
text { font: 12px system-ui, 'DejaVu Sans', sans-serif; }
.title { font-size: 16px; font-weight: 600; }
.heading { font-weight: 600; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke-width: 1; shape-rendering: crispEdges; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
${rules('light', colours)}
@media (prefers-color-scheme: dark) {
${rules('dark', colours)}
}
`

const rules = (scheme: 'light' | 'dark', colours: SeriesColours): string =>
  [
    `.paper { fill: ${PAPER[scheme]}; }`,
    `text { fill: ${INK[scheme]}; }`,
    `.quiet { fill: ${QUIET[scheme]}; }`,
    `.grid { stroke: ${GRID[scheme]}; }`,
    `.frame { fill: none; stroke: ${GRID[scheme]}; }`,
    ...Object.entries(colours).flatMap(([name, colour]) => [
      `.line.${name} { stroke: ${colour[scheme]}; }`,
      `.area.${name} { fill: ${colour[scheme]}; }`
    ])
  ].join('\n')
