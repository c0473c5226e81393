"""Who may look at studies, and who may answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from deploy.pages.doors import having
from deploy.pages.reading.names import Names
from models.people import LOOKING, Person, Role

Looking = Annotated[Person, Depends(having(*LOOKING))]
"""Who looks at studies: readers; approvers and auditors change nothing there."""

Answering = Annotated[Person, Depends(having(Role.READER))]
"""Who answers."""


def _names(request: Request) -> Names:
    names: Names = request.app.state.names
    return names


OfNames = Annotated[Names, Depends(_names)]
