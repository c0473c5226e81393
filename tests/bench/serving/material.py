"""What is served in the benches: a CT of 300 x 512 x 512, the starter, and a U-Net of 19 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.geometry import Geometry
from models.phantom.case import make_case
from models.release import Release
from models.resampling import AIR_HU, model_grid, resample, to_model_grid
from models.volume import Volume
from services.releases.store import ReleaseStore

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build" / "serving"
SHAPE = (300, 512, 512)
THREADS = 2
CASE = ("A", 900_201)
STARTER_SPACING = (4.0, 4.0, 4.0)

CROP = (96, 144, 144)
"""Voxels of the U-Net's part of the volume, 1.5 mm: from the middle of the body, 4 of its windows."""


@dataclass(frozen=True, eq=False)
class Material:
    """One network and what it is asked about.

    Parameters
    ----------
    name
        ``starter`` or ``unet``.
    release
        The network.
    store
        Its weights and exports.
    whole, hu
        The CT on the model grid, and the part of it that is timed; (k, j, i), int16.
    precision
        Of our engine.
    """

    name: str
    release: Release
    store: ReleaseStore
    whole: NDArray[np.int16]
    hu: NDArray[np.int16]
    precision: str = "f32"


def ct() -> Volume:
    """Return the CT: a phantom at 1.5 x 0.79 x 0.79 mm, mirrored towards head and feet to 300 slices."""
    kept = BUILD / "ct.npz"
    if not kept.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        case = make_case(*CASE, spacing_mm=(1.5, 0.79, 0.79))
        geometry = Geometry(SHAPE, case.volume.geometry.affine)
        grid = model_grid(geometry, STARTER_SPACING)
        truth = {
            organ: resample(_widened(mask.astype(np.float32), 0), geometry, grid, outside=0) >= 0.5
            for organ, mask in case.truth.items()
        }
        np.savez(BUILD / "truth.npz", **truth)
        np.savez(kept, hu=_widened(case.volume.hu, AIR_HU), affine=geometry.affine)
    with np.load(kept) as file:
        return Volume(file["hu"], Geometry(SHAPE, file["affine"]))


def truth() -> dict[str, NDArray[np.bool_]]:
    """Return the true organs of the CT on the starter's grid."""
    with np.load(BUILD / "truth.npz") as file:
        return dict(file)


def _widened(field: NDArray, outside: float) -> NDArray:
    """Mirror a field along k and surround it in the plane, to the CT's shape."""
    field = field[:, : SHAPE[1], : SHAPE[2]]
    sides = [(a // 2, a - a // 2) for a in (max(n - m, 0) for n, m in zip(SHAPE, field.shape, strict=True))]
    field = np.pad(field, [sides[0], (0, 0), (0, 0)], mode="symmetric")[: SHAPE[0]]
    return np.pad(field, [(0, 0), sides[1], sides[2]], constant_values=outside)


def material(network: str) -> Material:
    """Return `starter` or `unet`, published once. Imports no more than a client needs."""
    shipped = ReleaseStore(ROOT / "models" / "starter")
    mark = f"-{shipped.release(1).digest[:12]}" if network == "starter" else ""
    store = ReleaseStore(BUILD / (network + mark))
    if not store.numbers():
        if network == "starter":
            store.import_from(shipped.folder)
        else:
            _publish_unet(store)
    release = store.release(1)
    kept = BUILD / f"{network}.npy"
    if not kept.exists():
        np.save(kept, to_model_grid(ct(), release.contract.spacing_mm).hu)
    whole = np.load(kept)
    if network == "starter":
        return Material(network, release, store, whole, whole)
    k, j, i = ((n - side) // 2 for n, side in zip(whole.shape, CROP, strict=True))
    part = whole[k : k + CROP[0], j : j + CROP[1], i : i + CROP[2]]
    return Material(network, release, store, whole, np.ascontiguousarray(part))


def _publish_unet(store: ReleaseStore) -> None:
    """Publish a text-driven checkpoint of random weights: its organs are specks, up to a quarter of all."""
    import torch  # the served roles do without it, and so does their memory

    from models.network.checkpoints.importing import import_checkpoint
    from models.network.weights import head_to_bytes, trunk_to_bytes
    from tests.support import published

    state = published.unet_state()
    file = BUILD / "unet.pth"
    torch.save(published.published_file(state), file)
    network = import_checkpoint(file)
    file.unlink()
    store.publish(
        Release(
            number=1,
            parent=None,
            trunk=store.add_trunk(trunk_to_bytes(network.trunk, exact=True)),
            heads={organ: store.add_head(head_to_bytes(head)) for organ, head in network.heads.items()},
            contract=network.contract,
        )
    )


def main() -> int:
    """Make the CT, publish and export both networks, where they are not there yet; parity is the bench."""
    from models.network.export import export_head, export_trunk
    from models.network.weights import head_from_bytes, trunk_from_bytes

    for network in ("starter", "unet"):
        of = material(network)
        release, store = of.release, of.store
        if not store.has_export(release.trunk):
            store.add_export(
                release.trunk, export_trunk(trunk_from_bytes(store.trunk(release.trunk)), release.contract)
            )
        for digest in release.heads.values():
            if not store.has_export(digest):
                head = head_from_bytes(store.head(digest))
                store.add_export(digest, export_head(head, release.contract))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
