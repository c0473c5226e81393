"""Whether this process works in the database as a role that cannot rewrite the log."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.doctor.finding import Finding, State
from services.records.database import connect, revisions
from services.records.roles import may_rewrite

NAME = "database, role"


def role(url: str, *, clinical: bool) -> Iterator[Finding]:
    """Look at what the role of an address may do; of SQLite there is nothing to say.

    Raises
    ------
    SQLAlchemyError
        If the database does not answer.
    """
    engine = connect(url)
    try:
        if engine.dialect.name != "postgresql" or revisions(engine)[0] is None:
            return
        with engine.connect() as connection:
            rewrites = may_rewrite(connection)
        user = engine.url.username
        if rewrites:
            detail = f"{user} owns the log, and could rewrite it"
            remedy = (
                "Let an owner migrate (ORGANLOOP_DATABASE_OWNER_URL, for `prepare` alone), and name a writer "
                "in ORGANLOOP_DATABASE_URL."
            )
            yield Finding(NAME, State.BAD if clinical else State.WARNING, detail, remedy)
        else:
            yield Finding(NAME, State.GOOD, f"{user} can add to the log, and change nothing of it")
    finally:
        engine.dispose()
