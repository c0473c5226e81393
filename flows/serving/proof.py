"""The proof that a GPU server answers as the release was proven at export."""

from __future__ import annotations

from collections.abc import Callable

from models.errors import InvalidRelease, ServingRejected
from models.proof.served_parity import check_served, parity_volume
from models.release import Release
from services.inference.engine import OpenVinoEngine
from services.inference.port import Segmenter
from services.records.port import Records
from services.settings import Settings
from services.wiring import Services

SERVED_PROVEN = "served-proven"
"""Event: a server's answer was proven; ``release, digest, profile, networks`` (SHA-256), ``flipped`` (voxels
by organ). Once for the same networks in the same profile."""
GPU_PROVEN = "gpu-proven"
"""Event: `make gpu-proofs` has passed here; ``target, device`` (as the settings name them), ``lines``."""
SERVED_DIFFERS = "served-differs"
"""Event: a server does not answer as was proven; ``release, digest, profile, networks, why``. Once,
as above; it is asked again each time, for what is amiss may be mended without another network."""


def unproven(settings: Settings, records: Records) -> str | None:
    """Say so where a GPU server is the target on which `make gpu-proofs` has not passed; None elsewhere."""
    target, device = settings.triton_target, settings.triton_device
    proven = [(event.payload["target"], event.payload["device"]) for event in records.events(GPU_PROVEN)]
    if target == "python" or (target, device) in proven:
        return None
    return (
        f"ORGANLOOP_TRITON_TARGET={target} is unproven: `make gpu-proofs` has not passed on "
        f"{device or 'any GPU'} of this home"
    )


def prove_served(
    release: Release, services: Services, server: Segmenter, progress: Callable[[str], None]
) -> None:
    """Compare what a GPU server answers about phantoms with the engine that was proven at export; once.

    On the target `python` the server runs that very engine, and there is nothing to prove.

    Parameters
    ----------
    release
        Loaded on the server.
    services
        Its repository is the one that the server reads; what is proven goes on record, and what is not.
    server
        Which is asked.
    progress
        Told when it takes a while.

    Raises
    ------
    InvalidRelease
        If it does not answer about them, or labels or numbers differ by more than
        `models.proof.served_parity` allows.
    ServingUnavailable, ServingTimedOut
        If no server answers.
    """
    networks = services.repository.networks_digest(release.number)
    if networks is None:
        return
    profile = server.profile(release.number)
    which = f"{release.digest}:{profile}:{networks}"
    known = {"release": release.number, "digest": release.digest, "profile": profile, "networks": networks}
    if any(event.key == f"{SERVED_PROVEN}:{which}" for event in services.records.events(SERVED_PROVEN)):
        return
    progress(f"proving what release {release.number} answers in {profile}")
    store, contract = services.releases, release.contract
    heads = {organ: store.export(digest) for organ, digest in release.heads.items()}
    engine = OpenVinoEngine(release, store.export(release.trunk), heads, services.settings.threads)
    hu = parity_volume(contract)
    try:
        answer = server.segment(hu, release.number)
        answer.require(release)
        labels = check_served(contract, engine.segment(hu), answer, profile)
    except (InvalidRelease, ServingRejected) as error:
        services.records.event(
            SERVED_DIFFERS, who="serve", payload={**known, "why": str(error)}, key=f"{SERVED_DIFFERS}:{which}"
        )
        raise InvalidRelease(f"release {release.number} is not served as it was proven: {error}") from error
    flipped = {organ: changed for organ, (changed, _) in zip(contract.organs, labels, strict=True)}
    services.records.event(
        SERVED_PROVEN, who="serve", payload={**known, "flipped": flipped}, key=f"{SERVED_PROVEN}:{which}"
    )
