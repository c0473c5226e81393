"""Whether two machines agree on the time: events, leases and TLS all rest on it."""

from __future__ import annotations

from deploy.doctor.finding import Finding, State

AGREES_SECONDS, WRONG_SECONDS = 3.0, 60.0


def clock(whose: str, ahead_seconds: float) -> Finding:
    """Judge how far another clock is ahead of this machine's; negative where it is behind."""
    name = f"clock of {whose}"
    measured = {"ahead_seconds": round(ahead_seconds, 1)}
    apart = abs(ahead_seconds)
    if apart <= AGREES_SECONDS:
        return Finding(name, State.GOOD, f"agrees to {AGREES_SECONDS:.0f} s", measured=measured)
    way = "ahead of" if ahead_seconds > 0 else "behind"
    detail = f"{apart:.0f} s {way} this machine's"
    remedy = "Set both by the hospital's time server (NTP): times in the log and in DICOM would be wrong."
    return Finding(name, State.WARNING if apart < WRONG_SECONDS else State.BAD, detail, remedy, measured)
