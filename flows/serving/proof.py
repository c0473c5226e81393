"""The proof that a GPU server answers as the release was proven at export."""

from __future__ import annotations

from collections.abc import Callable

from models.errors import InvalidRelease, ServingRejected
from models.proof.served_parity import check_served, parity_volume
from models.release import Release
from services.inference.port import Segmenter
from services.records.events.serving import GpuProven, ServedDiffers, ServedProven
from services.records.port import Log
from services.releases.engine import open_engine
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.triton.repository import TritonRepository


def unproven(settings: Settings, log: Log) -> str | None:
    """Say so where a GPU server is the target on which `make gpu-proofs` has not passed; None elsewhere."""
    target, device = settings.triton_target, settings.triton_device
    if target == "python" or (device and log.last(GpuProven, target=target, device=device) is not None):
        return None
    return (
        f"ORGANLOOP_TRITON_TARGET={target} is unproven: `make gpu-proofs` has not passed on "
        f"{device or 'any GPU'} of this home"
    )


def prove_served(
    release: Release,
    server: Segmenter,
    repository: TritonRepository,
    store: ReleaseStore,
    threads: int,
    log: Log,
    progress: Callable[[str], None],
) -> None:
    """Compare what a GPU server answers about phantoms with the engine that was proven at export; once.

    On the target `python` the server runs that very engine, and there is nothing to prove.

    Parameters
    ----------
    release
        Loaded on the server.
    server
        Which is asked.
    repository
        The one that the server reads.
    store, threads
        Give the engine that was proven, as it was.
    log
        What is proven goes on record, and what is not.
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
    networks = repository.networks_digest(release.number)
    if networks is None:
        return
    profile = server.profile(release.number)
    which = release.digest, profile, networks
    if log.last(ServedProven, key=ServedProven.key(*which)) is not None:
        return
    progress(f"proving what release {release.number} answers in {profile}")
    contract = release.contract
    engine = open_engine(release, store, threads)
    hu = parity_volume(contract)
    try:
        answer = server.segment(hu, release.number)
        answer.require(release)
        labels = check_served(contract, engine.segment(hu), answer, profile)
    except (InvalidRelease, ServingRejected) as error:
        differs = ServedDiffers(
            release=release.number,
            digest=release.digest,
            profile=profile,
            networks=networks,
            why=str(error),
        )
        log.record(differs, who="serve", key=differs.key(*which))
        raise InvalidRelease(f"release {release.number} is not served as it was proven: {error}") from error
    flipped = {organ: changed for organ, (changed, _) in zip(contract.organs, labels, strict=True)}
    proven = ServedProven(
        release=release.number,
        digest=release.digest,
        profile=profile,
        networks=networks,
        flipped=flipped,
    )
    log.record(proven, who="serve", key=proven.key(*which))
