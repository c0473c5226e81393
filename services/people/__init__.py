"""Who somebody is: the site's key, tokens signed by it, and the account of a machine by itself.

- `key`: what sessions and tokens are signed with
- `tokens`: a proven name that is carried from the pages to the command, for an hour
- `settings`: what a site says about signing in and typed names
- `local_account`: the one account where no provider and no proxy knows anybody
- `messages`: what people are told, by mail, Teams or a webhook
"""
