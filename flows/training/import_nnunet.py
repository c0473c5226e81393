"""Bring in a network that nnU-Net trained: proven against labels of its owner's program, as a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from flows.candidates import publish_candidate, record_candidate
from flows.progress import Progress, silent
from flows.training.import_checkpoint import Parity
from models.documents import LEFT_OUT
from models.errors import InvalidRelease, Refused
from models.network.checkpoints.nnunet.reading import NnunetNetwork, read_nnunet
from models.network.checkpoints.nnunet.release import Asked, take_apart, with_heads
from models.network.weights import head_to_bytes, trunk_to_bytes
from models.nnunet.whole import evaluate
from models.organs import KEYS
from models.proof.reference import Agreement, require_agreement
from models.release import Release
from models.weights_source import WeightsSource
from services.dicom.dictionary import NO_FILE, OrganFile
from services.inference.engine import OpenVinoEngine
from services.records.events.candidates import CheckpointImported
from services.records.port import Records
from services.releases.engine import open_engine
from services.releases.exporter import export_release
from services.releases.reference_files import ReferenceFile, read_reference
from services.releases.store import ReleaseStore
from services.stopwatch import Stopwatch

KIND = "nnunet"


@dataclass(frozen=True)
class Reference:
    """A CT, and the labels that the owner's own program gave of it.

    Parameters
    ----------
    ct, labels
        NIfTI files of one grid.
    made_by
        How the labels were made: program and version, device, folds, mirroring.
    """

    ct: Path
    labels: Path
    made_by: str


@dataclass(frozen=True)
class Proven:
    """What a reference proved.

    Parameters
    ----------
    made_by
        As it was said.
    ct, labels
        SHA-256 of the files.
    agreement
        How the labels served agree with it.
    """

    made_by: str
    ct: str
    labels: str
    agreement: Agreement


@dataclass(frozen=True)
class ImportedNnunet:
    """The document of the `import-checkpoint` verb, of a network of nnU-Net.

    Parameters
    ----------
    release, digest, state
        The candidate.
    kind
        ``nnunet``.
    files
        SHA-256 of each that was read, by name.
    trainer, fold
        Of the checkpoint.
    licence, origin
        Of the weights, as they were said.
    organs
        In the network's order.
    left_out
        Classes that are not shown.
    axes
        Where the network's axes lead.
    parity
        By organ, of the serving engine against torch.
    proven
        None without a reference: the release is for demonstration only.
    seconds
        By step, and ``total``.
    unverified
        Codes of organs outside the catalogue that DICOM's dictionaries do not hold.
    """

    release: int
    digest: str
    state: str
    kind: str
    files: Mapping[str, str]
    trainer: str
    fold: str
    licence: str
    origin: str
    organs: tuple[str, ...]
    left_out: tuple[str, ...]
    axes: str
    parity: Mapping[str, Parity]
    seconds: Mapping[str, float]
    unverified: tuple[str, ...] = ()
    proven: Annotated[Proven | None, LEFT_OUT] = None


def keep_nnunet(
    path: Path,
    store: ReleaseStore,
    records: Records,
    threads: int,
    asked: Asked,
    *,
    licence: str,
    origin: str,
    organs: Sequence[str] | None = None,
    fold: str | None = None,
    reference: Reference | None = None,
    organ_file: OrganFile = NO_FILE,
    progress: Progress = silent,
) -> ImportedNnunet:
    """Import a network of nnU-Net and publish the candidate that comes of it; once, however often repeated.

    It claims no bound, has no parent and serves nobody: whoever wants it served decides so.

    Parameters
    ----------
    path
        A results folder, or one checkpoint.
    store, records
        Where it is kept and put on record; nothing is asked of a server.
    threads
        How many threads prove the export.
    asked
        What no file of nnU-Net says.
    licence, origin
        Of the weights; both are kept with the release, and said on its results.
    organs
        As `models.network.checkpoints.nnunet.release.take_apart`.
    fold
        Which of several.
    reference
        What it is proven against; None: the release is for demonstration only.
    organ_file
        Organs outside the catalogue that the site has codes for; the release carries those it has.
    progress
        Told each step.

    Raises
    ------
    Refused
        As `models.network.checkpoints.nnunet.reading.read_nnunet`, `take_apart` and
        `models.proof.reference.require_agreement`; `no-licence`, `bad-licence`; `other-grid` if the
        reference's files do not lie on one grid.
    InvalidRelease
        If the serving engine does not answer as torch does. Nothing is published then, or when it is refused.
    StorageFailed, ReadFailed
        If the disk is full or not writable, or a file cannot be read.
    """
    weights = _source(licence, origin)
    watch = Stopwatch()
    with watch.step("read"):
        progress(f"reading {path}; nothing of it is run")
        network = read_nnunet(path, fold)
        apart = take_apart(network, asked, organs, (*KEYS, *organ_file.organs))
        further = organ_file.carried(apart.contract.organs)
        contract = replace(apart.contract, further=further, weights=weights)
        given = None if reference is None else _read(reference)
    with watch.step("keep"):
        heads = {organ: store.add_head(head_to_bytes(head)) for organ, head in apart.heads.items()}
        draft = Release(
            number=1,
            parent=None,
            trunk=store.add_trunk(trunk_to_bytes(apart.trunk, exact=True)),
            heads=heads,
            contract=with_heads(contract, heads),
            demonstration=reference is None,
            note=_note(network, weights, reference),
        )
    progress(f"{len(heads)} of {len(network.labels.channels)} classes; proving the export in the engine")
    with watch.step("export"):
        parity = export_release(draft, store, threads=threads)
    proven = None
    if reference is not None and given is not None:
        with watch.step("prove"):
            ct, labels = given
            progress(f"asking the engine about {reference.ct.name}, {ct.geometry.shape} voxels")
            found = _labels(draft, network, open_engine(draft, store, threads), ct)
            names = _names(network)
            agreement = require_agreement(found, labels.values.astype(np.int64), names)
            proven = Proven(reference.made_by, ct.sha256, labels.sha256, agreement)
    candidate = publish_candidate(draft, store, records)
    document = ImportedNnunet(
        release=candidate.number,
        digest=candidate.digest,
        state="candidate",
        kind=KIND,
        files=network.source.digests,
        trainer=network.source.trainer,
        fold=network.source.fold,
        licence=weights.licence,
        origin=weights.origin,
        organs=candidate.contract.organs,
        left_out=apart.left_out,
        unverified=() if contract.further is None else contract.further.unverified,
        axes=candidate.contract.recipe.axes if candidate.contract.recipe else "",
        parity={one.organ: Parity(one.max_logit_difference, one.flipped, one.voxels) for one in parity},
        seconds=watch.seconds(),
        proven=proven,
    )
    event = CheckpointImported(
        release=candidate.number,
        digest=candidate.digest,
        kind=KIND,
        sha256=network.source.digests[max(network.source.digests, key=lambda name: name.endswith(".pth"))],
        said=candidate.note,
    )
    record_candidate(candidate, event, "import_checkpoint", event.key(candidate.digest), records)
    return document


def _source(licence: str, origin: str) -> WeightsSource:
    """Return whose weights they are; refuses with `no-licence` or `bad-licence`."""
    if not licence.strip() or not origin.strip():
        raise Refused("no-licence", "say the licence of the weights, and where they come from", {})
    try:
        return WeightsSource(licence.strip(), origin.strip())
    except ValueError as bad:
        raise Refused("bad-licence", f"{bad}; results carry it in the character set of the CT", {}) from bad


def _read(reference: Reference) -> tuple[ReferenceFile, ReferenceFile]:
    ct, labels = read_reference(reference.ct), read_reference(reference.labels)
    if not ct.geometry.same_grid(labels.geometry):
        detail = f"{reference.labels.name} does not lie on the grid of {reference.ct.name}"
        measured = {"ct": list(ct.geometry.shape), "labels": list(labels.geometry.shape)}
        raise Refused("other-grid", detail, measured)
    if labels.values.dtype != np.int16:
        raise Refused("other-labels", f"{reference.labels.name} holds fractions, not labels", {})
    return ct, labels


def _names(network: NnunetNetwork) -> dict[int, str]:
    """Return the numbers of the reference's label map, and the class of each; background left out."""
    channels = network.labels.channels
    if network.labels.decision == "regions":
        return dict(zip(network.labels.painted, (channel.name for channel in channels), strict=True))
    return {number: channel.name for number, channel in enumerate(channels) if number}


def _labels(
    draft: Release, network: NnunetNetwork, engine: OpenVinoEngine, ct: ReferenceFile
) -> NDArray[np.int64]:
    """Return the label map that the engine's logits make, of all classes; axes (k, j, i) of the CT."""
    contract = draft.contract
    if contract.recipe is None:
        raise ValueError("a network of nnU-Net has a recipe")
    every = tuple(str(number) for number, _ in enumerate(network.labels.channels))
    recipe = replace(contract.recipe, classes=every, imported={})
    spacing = recipe.along(contract.spacing_mm)

    def logits(window: NDArray[np.float32]) -> NDArray[np.float32]:
        frozen = engine.predict(window).frozen
        if frozen is None:
            raise InvalidRelease("the engine answers no logits of the network's own")
        return frozen

    whole = evaluate(ct.values, ct.geometry, recipe, spacing, contract.window_shape, logits)
    painted: NDArray[np.int64] = np.zeros(ct.geometry.shape, dtype=np.int64)
    numbers = network.labels.painted or range(len(every))
    for channel, mask in whole.masks().items():  # of regions a later one covers an earlier
        painted[mask.box][mask.inside] = numbers[channel]
    return painted


def _note(network: NnunetNetwork, weights: WeightsSource, reference: Reference | None) -> str:
    files = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(network.source.digests.items()))
    proof = (
        f"Proven against labels made by {reference.made_by}."
        if reference
        else "Not proven against any reference: for demonstration only."
    )
    return (
        f"Imported from nnU-Net: {network.plan.dataset}, {network.plan.plans}, {network.plan.configuration}, "
        f"{network.source.trainer}, fold {network.source.fold}; SHA-256 {files}. "
        f"Licence: {weights.licence}. Origin: {weights.origin}. {proof}"
    )
