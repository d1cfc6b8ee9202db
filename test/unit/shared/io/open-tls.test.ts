import t from 'tap'
import { QIOChannelNodeTLS } from '../../../../shared/io/channel-node-tls.ts'
import { QIOChannelOpenSSL } from '../../../../shared/io/channel-openssl.ts'
import { newTLSClient, newTLSServer } from '../../../../shared/io/open-tls.ts'
import type { TLSCreds } from '../../../../shared/io/tls-creds.ts'
import { PairMaker } from '../../../helpers/raw-pair.ts'
import { closedWith } from '../../../helpers/tls-pair.ts'
import { creds, needs } from './tls-ends.ts'

const unread: Buffer = Buffer.alloc(0)

void t.test(
  'newTLSServer, newTLSClient - OpenSSL does it wherever it knows whom to trust',
  needs,
  async (t) => {
    const maker = await PairMaker.listen(t)
    const { fd } = await maker.descriptor()
    t.type(closedWith(t, newTLSServer({ fd, unread }, creds().server)), QIOChannelOpenSSL)
    const none = { ca: undefined, cert: undefined, key: undefined }
    const clients: [what: string, TLSCreds, typeof QIOChannelOpenSSL | typeof QIOChannelNodeTLS][] = [
      ['a CA of our own', creds().client, QIOChannelOpenSSL],
      ['any server', { ...none, verifyPeer: false }, QIOChannelOpenSSL],
      ['the public CAs', none, QIOChannelNodeTLS],
      ['a pre-shared key', { ...none, psk: { username: 'alice', key: 'ab' } }, QIOChannelOpenSSL]
    ]
    for (const [what, clientCreds, kind] of clients) {
      const { fd } = await maker.descriptor()
      t.type(closedWith(t, newTLSClient({ fd, unread }, clientCreds, 'localhost')), kind, what)
    }
  }
)
