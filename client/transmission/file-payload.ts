/**
 * Payloads that are a part of a file: a channel that can send files takes them from the page cache, for all others they
 * are read.
 *
 * @context the connection's thread
 */
import { NBDError } from '../../shared/errors/nbd-error.ts'
import { errnoText } from '../../shared/errors/system-error.ts'
import type { IOVec } from '../../shared/io/channel.ts'
import { preadSync } from '../../shared/syscall/file-io.ts'
import { EIO } from '../../shared/syscall/libc.ts'
import { Memory } from '../../shared/syscall/memory.ts'
import type { Command } from './pending-request.ts'

/** A part of an open file, as long as the request says. */
export interface FilePart {
  fd: number
  /** Of the first byte in the file. */
  position: number
}

/** Bytes `start` to `end` of a file. */
export interface FilePiece {
  file: number
  start: number
  end: number
}

/** What is to be sent. */
export type Piece = IOVec | FilePiece

export const isFilePiece = (piece: Piece): piece is FilePiece => 'file' in piece

/** The file ends before the payload does. */
export const shortFileError = (): NBDError =>
  new NBDError('request', 'the file that is sent has become shorter', { errno: EIO })

/** The server waits for the rest of a payload, which there is none of: nothing else can be sent any more. */
export const cutError = ({ message }: NBDError): NBDError => new NBDError('transport', message)

/** @returns undefined when there is none */
export function payloadOf({ data, file, length }: Command): Piece | undefined {
  if (data) return { memory: Memory.of(data), start: 0, end: data.length }
  return file && filePieceOf(file, length)
}

const filePieceOf = ({ fd, position }: FilePart, length: number): FilePiece => ({
  file: fd,
  start: position,
  end: position + length
})

/** The same command with its payload in memory. @throws NBDError as `readFilePiece` */
export function inMemory(command: Command): Command {
  const { file, length, ...rest } = command
  if (!file) return command
  const { memory } = readFilePiece(filePieceOf(file, length))
  return { ...rest, length, data: memory.buffer.subarray(0, length) }
}

/**
 * Reads bytes of a file, in this thread: waits for the disk where they are not cached.
 *
 * @throws NBDError of kind `request` when the file ends before, or cannot be read
 */
export function readFilePiece({ file, start, end }: FilePiece): IOVec {
  const memory = Memory.allocate(end - start)
  for (let at = start; at < end;) {
    const n = preadSync(file, memory.address + at - start, end - at, at)
    if (n === 0) throw shortFileError()
    if (n < 0) throw new NBDError('request', `reading what is sent: ${errnoText(-n)}`, { errno: -n })
    at += n
  }
  return { memory, start: 0, end: end - start }
}
