/** How far a long piece of work has come: for people, on a terminal or in a log, and for programs. */
import * as fs from 'node:fs'
import { formatSize } from '../../shared/config/size.ts'

/** What a report is made of. */
export interface Done {
  bytes: number
  /** Undefined when nobody knows. */
  total: number | undefined
  /** Since the beginning. */
  ms: number
  /** All of it is done. */
  ended: boolean
}

/** Where reports go. */
export interface ProgressOutput {
  report(done: Done): void
  /** There will be no more reports. */
  close(): void
}

export class Progress {
  readonly #total: number | undefined
  readonly #output: ProgressOutput
  readonly #start = performance.now()
  #bytes = 0

  /** @param total bytes that there are to do */
  constructor(total: number | undefined, output: ProgressOutput) {
    this.#total = total
    this.#output = output
    this.#report(false)
  }

  add(bytes: number): void {
    this.#bytes += bytes
    this.#report(false)
  }

  /** All is done. */
  end(): void {
    this.#report(true)
    this.#output.close()
  }

  /** It came to nothing. */
  abandon(): void {
    this.#output.close()
  }

  #report(ended: boolean): void {
    const ms = performance.now() - this.#start
    this.#output.report({ bytes: this.#bytes, total: this.#total, ms, ended })
  }
}

/** Whole percents; 100 only when all is done. */
export function percentOf({ bytes, total, ended }: Done): number {
  if (ended) return 100
  return total ? Math.min(99, Math.floor((100 * bytes) / total)) : 0
}

/** `1.5 GiB of 4 GiB, 312.5 MiB/s, 8 s left` */
export function describe({ bytes, total, ms, ended }: Done): string {
  const amount =
    total === undefined || ended ? formatSize(bytes) : `${formatSize(bytes)} of ${formatSize(total)}`
  const perSecond = ms > 0 ? (bytes * 1000) / ms : 0
  const rate = `${formatSize(Math.round(perSecond))}/s`
  if (ended) return `${amount}, ${rate}, ${duration(ms / 1000)}`
  const left = total !== undefined && perSecond > 0 ? `, ${duration((total - bytes) / perSecond)} left` : ''
  return `${amount}, ${rate}${left}`
}

/** `8 s`, `3:05 min`, `2:03:05 h` */
function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  const two = (value: number): string => String(value).padStart(2, '0')
  if (whole < 60) return `${whole} s`
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)]
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)} h` : `${minutes}:${two(whole % 60)} min`
}

/** `N/100` by the line, as nbdcopy's `--progress=FD`. */
export class ProgressNumbers implements ProgressOutput {
  readonly #fd: number
  #last = -1

  /** @param fd stays open */
  constructor(fd: number) {
    this.#fd = fd
  }

  report(done: Done): void {
    const percent = percentOf(done)
    if (percent <= this.#last) return
    this.#last = percent
    write(this.#fd, `${percent}/100\n`)
  }

  close(): void {
    // The descriptor is somebody else's.
  }
}

/** A line every so many percent: for a log. */
export class ProgressLines implements ProgressOutput {
  readonly #fd: number
  #next = STEP

  constructor(fd: number) {
    this.#fd = fd
  }

  report(done: Done): void {
    const percent = percentOf(done)
    if (percent < this.#next) return
    this.#next = percent - (percent % STEP) + STEP
    write(this.#fd, `${String(percent).padStart(3)}%  ${describe(done)}\n`)
  }

  close(): void {
    // Every line is whole.
  }
}

/** Percents between two lines. */
const STEP = 10

/** A bar that is drawn over itself: for a terminal. */
export class ProgressBar implements ProgressOutput {
  readonly #terminal: { fd: number; columns: number }
  #drawn = -Infinity
  #open = false

  constructor(terminal: { fd: number; columns: number }) {
    this.#terminal = terminal
  }

  report(done: Done): void {
    if (!done.ended && done.ms - this.#drawn < REDRAW_MS) return
    this.#drawn = done.ms
    write(this.#terminal.fd, `\r${this.#line(done)}\x1b[K${done.ended ? '\n' : ''}`)
    this.#open = !done.ended
  }

  /** What is written next begins a line. */
  close(): void {
    if (this.#open) write(this.#terminal.fd, '\n')
    this.#open = false
  }

  #line(done: Done): string {
    const percent = percentOf(done)
    const text = describe(done)
    const head = done.total === undefined && !done.ended ? '' : `${String(percent).padStart(3)}% `
    const room = Math.min(MAX_BAR, this.#terminal.columns - head.length - text.length - 5)
    const stars = Math.round((room * percent) / 100)
    const bar = head === '' || room < MIN_BAR ? '' : `[${'*'.repeat(stars)}${'-'.repeat(room - stars)}] `
    return `${head}${bar}${text}`.slice(0, this.#terminal.columns - 1)
  }
}

const REDRAW_MS = 100
/** Of a terminal that does not say. */
const DEFAULT_COLUMNS = 80
const [MIN_BAR, MAX_BAR] = [8, 40]

/** Whoever does not read it is not waited for, and is no reason to end. */
function write(fd: number, text: string): void {
  try {
    fs.writeSync(fd, text)
  } catch {
    // EAGAIN, EPIPE: the next report says more.
  }
}

/** For people, on standard error. */
export const progressForPeople = (): ProgressOutput =>
  process.stderr.isTTY
    ? new ProgressBar({ fd: process.stderr.fd, columns: process.stderr.columns || DEFAULT_COLUMNS })
    : new ProgressLines(process.stderr.fd)

/** For nobody. */
export const noProgress: ProgressOutput = { report: () => undefined, close: () => undefined }
