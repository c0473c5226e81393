"""Who may look at releases, nights and the log, and who decides on them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from deploy.pages.doors import having
from models.people import LOOKING, WATCHING, Person, Role

Watching = Annotated[Person, Depends(having(*WATCHING))]
"""Who looks at releases, nights and the log."""

OwnerLooking = Annotated[Person, Depends(having(*(role for role in WATCHING if role in LOOKING)))]
"""Who looks at releases and may look at studies too: pictures show them."""

Deciding = Annotated[Person, Depends(having(Role.APPROVER))]
"""Who promotes, declines and rolls back."""

Operating = Annotated[Person, Depends(having(Role.OPERATOR))]
"""Who starts and stops nights."""
