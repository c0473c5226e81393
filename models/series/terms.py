"""Words of the standard that may be said of a header: any other text in their place may be a name."""

from __future__ import annotations

from collections.abc import Set

from models.uids import is_uid

MODALITIES = frozenset((
    "ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX",
    "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER",
    "KO", "LEN", "LS", "M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV",
    "OSS", "OT", "PA", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE",
    "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR",
    "SRF", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "XA", "XAPROTOCOL", "XC",
))  # fmt: skip
"""PS3.16 CID 29, acquisition, and CID 33, others (PS3.3 C.7.3.1.1.1)."""

RESCALE_TYPES = frozenset(("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"))
"""PS3.3 C.11.1.1.2."""

PHOTOMETRIC = frozenset((
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422",
    "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB",
))  # fmt: skip
"""PS3.3 C.7.6.3.1.2."""


def term(text: str, terms: Set[str]) -> str:
    """Return a text if it is one of the standard's terms, else that it is none of them."""
    if not text:
        return "not given"
    return text if text in terms else "none of the standard"


def uid_or_length(text: str) -> str:
    """Return a text if it may stand for a UID, else how many characters it has."""
    return text if is_uid(text) else f"({len(text)} characters that are no UID)"
