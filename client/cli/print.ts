/** Standard output, to the last byte: what is written to a socket is still on its way when the process exits. */

/** Resolves when the text is written, or whoever reads has gone. */
export const print = (text: string): Promise<void> =>
  new Promise((resolve) => {
    // `head` leaves when it has seen enough.
    process.stdout.once('error', () => resolve())
    process.stdout.write(text, () => resolve())
  })
