"""Witnesses: places outside the database, and best outside the machine, that remember the head of the log.

Who owns the database can write the whole log anew. A head that was told elsewhere before, and is no longer in
the log at its number, shows it: `port` says what a witness does, `file` and `syslog` are the two there are.
"""
