"""What was written, corrected and decided: the database, and the chain of its events.

`port` says what may be asked and told, concern by concern (`ports`); `entries` what it is said in; `events`
what may happen, a dataclass a kind; `log` and `chain` how that is kept in order and found to be whole. The
other files are the same concerns in SQL.
"""
