/** The load generator with `@vates/nbd-client`, whose module's file is the argument. */
import { pathToFileURL } from 'node:url'
import { serveLoads, type LoadDisk } from './load.ts'

/** What is used of its API. */
interface VatesClient {
  readonly exportSize: bigint
  connect(): Promise<void>
  /** Reads `size` bytes at `index * size`, into a buffer of its own. */
  readBlock(index: number, size: number): Promise<Buffer>
  disconnect(): Promise<void>
}

type VatesModule = { default: new (server: { address: string; port: number }) => VatesClient }

async function open(uri: string): Promise<LoadDisk> {
  const { default: Client } = (await import(pathToFileURL(process.argv[2]!).href)) as VatesModule
  const { hostname, port } = new URL(uri)
  const client = new Client({ address: hostname, port: Number(port) })
  await client.connect()
  return {
    size: Number(client.exportSize),
    read: (offset, { length }) => client.readBlock(offset / length, length),
    close: () => client.disconnect()
  }
}

serveLoads(open)
