"""Ways to sign in; a site has one.

- `provider`: an OpenID Connect provider
- `proxy`: the headers of a proxy in front, from named addresses only
- `local`: the account of this machine
"""
