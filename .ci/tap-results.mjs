// Reads raw TAP as tap's runner writes it (one top-level test point per file, sub-tests indented by four), prints a
// readable account of each file, and counts.
//
// What counts as one test: a sub-test with assertions of its own; everything skipped or to do, each for itself; and
// a file or sub-test that failed though nothing in it did (it crashed, timed out, was killed, or holds no test).

const TEST_POINT = /^(not )?ok\b(?: \d+)?(?: - )?(.*)$/
const DIRECTIVE = /(?:^|[^\\])# (?:(SKIP|TODO) ?|time=)(.*)$/

export class TapResults {
  passed = 0
  failed = 0
  skipped = 0
  #levels = [] // by depth: the test points seen since the last one that was less deep
  #last // the latest test point: diagnostics that follow are about it
  #inDiagnostics = false
  #file // a top-level test point that is to be counted when its diagnostics have been read
  #print
  #skipFails

  /** `skipFails(reason)` tells whether a test that was skipped for this reason counts as failed. */
  constructor({ print, skipFails }) {
    this.#print = print
    this.#skipFails = skipFails
  }

  line(line) {
    const text = line.trim()
    const indent = line.length - line.trimStart().length
    const isDiagnostics = this.#last && indent === this.#last.indent + 2
    if (this.#inDiagnostics) {
      if (isDiagnostics && text === '...') this.#inDiagnostics = false
      else this.#last.diagnostics.push(line.slice(this.#last.indent + 2))
    } else if (isDiagnostics && text === '---') {
      this.#inDiagnostics = true
    } else {
      this.end()
      this.#tapLine(text, indent)
    }
  }

  end() {
    if (this.#file) this.#countFile(this.#file)
    this.#file = undefined
  }

  fail(reason) {
    this.failed++
    this.#print(`FAIL ${reason}`)
  }

  toString() {
    return tally(this)
  }

  #tapLine(text, indent) {
    const depth = Math.floor(indent / 4)
    const match = TEST_POINT.exec(text)
    if (match) {
      const point = testPoint(match, indent, this.#levels.splice(depth + 1)[0])
      this.#last = point
      if (depth === 0) this.#file = point
      else this.#level(depth).push(point)
    } else if (/^1\.\.\d/.test(text)) {
      this.#level(depth) // a plan makes a sub-test, even if nothing ran in it
    } else if (text !== '' && !text.startsWith('#') && !text.startsWith('TAP version')) {
      this.#print(text) // the test's own output
    }
  }

  #level(depth) {
    for (let i = 0; i <= depth; i++) this.#levels[i] ??= []
    return this.#levels[depth]
  }

  #countFile(file) {
    const counts = { passed: 0, failed: 0, skipped: 0, details: [] }
    if (file.directive && file.reason !== 'no tests found') this.#countSkipped(file, '', counts)
    else if (!file.children?.length && file.ok)
      addFailure({ ...file, diagnostics: ['holds no tests'] }, '', counts)
    else this.#count(file, '', counts)
    for (const key of ['passed', 'failed', 'skipped']) this[key] += counts[key]
    this.#print(
      `${counts.failed ? 'FAIL' : 'ok  '} ${file.name}: ${tally(counts)}${file.time ? ` (${file.time})` : ''}`
    )
    for (const line of counts.details) this.#print(`       ${line}`)
  }

  #count(test, title, counts) {
    const failedBefore = counts.failed
    const assertions = []
    for (const child of test.children ?? []) {
      const childTitle = title ? `${title} > ${child.name}` : child.name
      if (child.directive) this.#countSkipped(child, childTitle, counts)
      else if (child.children) this.#count(child, childTitle, counts)
      else assertions.push(child)
    }
    const wrong = assertions.filter((assertion) => !assertion.ok)
    for (const { name, diagnostics } of wrong) counts.details.push(...detail(title, name, diagnostics))
    if (wrong.length > 0) counts.failed++
    else if (!test.ok && counts.failed === failedBefore) addFailure(test, title, counts)
    else if (assertions.length > 0 || !test.children?.length) counts.passed++
  }

  #countSkipped({ name, directive, reason }, title, counts) {
    const fails = directive === 'SKIP' && this.#skipFails(reason)
    counts[fails ? 'failed' : 'skipped']++
    counts.details.push(
      `${fails ? 'must not be skipped' : directive.toLowerCase()}: ${title || name}: ${reason}`
    )
  }
}

function testPoint([, not, text], indent, children) {
  const directive = DIRECTIVE.exec(text)
  const name = (directive ? text.slice(0, directive.index + 1) : text).trim()
  const [kind, rest] = directive?.slice(1) ?? []
  const isSkip = kind !== undefined
  return {
    ok: !not,
    name,
    indent,
    children,
    directive: kind,
    reason: isSkip ? rest : '',
    time: isSkip ? '' : rest,
    diagnostics: []
  }
}

// A test or file that failed as a whole: how it ended is what matters, not where it begins.
function addFailure({ name, diagnostics }, title, counts) {
  counts.failed++
  const ending = diagnostics.filter((line) => /^(exitCode|signal|expired|error|message|holds)\b/.test(line))
  counts.details.push(...detail('', title || name, ending))
}

function detail(title, name, diagnostics) {
  return [title ? `${title} > ${name}` : name, ...diagnostics.map((line) => `  ${line}`)]
}

export function tally({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`
}
