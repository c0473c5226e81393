// An OpenID Connect provider for tests: `node provider.js PORT REDIRECT_URI ACCOUNTS_JSON`; port 0 takes a free one.
// Who signs in says a login, no password is asked; what is told of each login stands in ACCOUNTS_JSON.
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, redirect, accounts] = process.argv.slice(2);
const known = JSON.parse(accounts);
const server = createServer();
server.listen(Number(port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'organloop',
      client_secret: 'a-secret-of-the-test',
      redirect_uris: [redirect],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    }],
    claims: { openid: ['sub'], profile: ['name'], email: ['email'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'email', 'groups'],
    cookies: { keys: ['a key of the test'] },
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    findAccount: (_, id) => known[id] && { accountId: id, claims: () => ({ sub: id, ...known[id] }) },
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
