"""What happened, each kind as a frozen dataclass whose fields are what the log keeps of it.

`event` is what all are made of. The kinds lie by concern: `arrivals`, `results`, `corrections`, `cases`,
`candidates`, `gate`, `serving`, `operations`. The name a kind has in the log stands here and nowhere else.
"""
