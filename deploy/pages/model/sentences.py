"""What a line of the log says, in a sentence: one for each kind of event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from models.organs import name_of
from services.records.events import (
    arrivals,
    candidates,
    cases,
    corrections,
    gate,
    operations,
    reading,
    results,
    serving,
)
from services.records.events.event import Event

SENTENCES: Mapping[type[Event], str] = {
    arrivals.StudyGone: "The archive holds it no longer.",
    arrivals.StudyIgnored: "It is nothing for us ({code}).",
    arrivals.ArrivalFailed: "It failed as often as it is tried, {attempts} times ({code}).",
    arrivals.StudyRenewed: "Images came or went after results were stored.",
    arrivals.StudyRefused: "It was refused ({code}).",
    arrivals.CorrectionRefused: "A segmentation that came was not taken ({code}).",
    arrivals.SavesArrived: "{saves:count} segmentations that are not ours came.",
    arrivals.SiteKeyChanged: "The site's key is another one: {now}, was {before}.",
    arrivals.FeedBegun: "The archive's feed is read from change {cursor} on.",
    arrivals.FeedBeganAgain: "The archive's feed begins again at {begun_again_to}.",
    arrivals.PacsQueried: "The PACS was asked for the studies of {day}.",
    arrivals.StudyNotSent: "The PACS did not send {missing} images ({code}).",
    results.ResultRecorded: "Release {release} segmented it; the result is stored.",
    results.SpeechChanged: "Whether results go to the archive: {speaks:yes} ({reason}).",
    results.ResultKept: "Release {release} segmented it in silence; nothing was sent.",
    results.KeptResultSent: "The result of release {release}, made in silence, goes to the archive.",
    results.ResultDiffers: "The archive holds another object under a UID of release {release}'s result.",
    results.StudySegmented: "Flags of release {release}: {flags:flags}.",
    results.AuditDrawn: "It was drawn for the random check of release {release}.",
    results.BoundBroken: "{organ:organs}: the bound of release {release} held {held} times of {looked_at}.",
    results.BoundsChecked: "Bounds of release {release} were checked on {reviewed} studies of {drawn}.",
    reading.StudyListed: "The result of release {release} was put on the worklist, {findings} organs.",
    reading.OpinionGiven: "{organs:organs}: {opinion} {why}, seen in {seen}; release {release}.",
    reading.ReadingForgotten: "What was said of a patient is gone: {findings} findings, {opinions} opinions.",
    corrections.CorrectionRecorded: "Correction, version {version}: {status}; edited: {edited:organs}.",
    corrections.CorrectionWithdrawn: "A correction was taken back ({reason}).",
    corrections.QuestionsAnswered: "Questions about a saved segmentation were answered: {answers}.",
    corrections.OrgansAccepted: "Accepted of release {release}: {organs:organs}.",
    corrections.AgreementMeasured: "{organ:organs}: two readers agree by a DSC of {dsc:share}.",
    corrections.KeptOutOfTuning: "A correction teaches nothing: {why}",
    corrections.ReadersDisagree: "{organ:organs}: readers disagree, DSC {dsc:share}.",
    corrections.SavedInViewer: "Saved an object in the viewer.",
    corrections.SaverProven: "Who saved an object became known; it is read again.",
    cases.CaseAdded: "A case was taken into the set for {purpose} ({origin}).",
    cases.SetFrozen: "The set for {purpose} was frozen, version {version}, {cases} cases.",
    cases.PatientErased: "A patient was taken out, {cases:count} cases ({reason}).",
    cases.LearntFromErased: "Releases that learnt from a patient who was taken out: {releases}.",
    candidates.CandidateTuned: "Release {release} was tuned from release {parent}: {organs:organs}.",
    candidates.CandidateTrained: "Release {release} was trained from release {parent}: {organs:organs}.",
    candidates.CandidateCalibrated: "Release {release} is release {parent}, calibrated anew.",
    candidates.TuningDeclined: "A run of tuning came to no candidate.",
    candidates.CheckpointImported: "Release {release} was imported ({kind}).",
    candidates.ReleaseExported: "Release {release} was written into a file for another site.",
    candidates.ReleaseImported: "Release {release} was taken in from a file that {exporter} exported.",
    gate.CaseScored: "Releases were asked about a case of the gate.",
    gate.GateDecided: "The gate on release {release} against {against}: {decision}. {reasons}",
    serving.ReleaseStateChanged: "Release {release} is {state}. {reason:maybe}",
    serving.IncumbentChanged: "Release {after} serves in place of {before}: {act} ({reason}).",
    serving.ReleasePromoted: "Release {release} was promoted in place of {replaced} ({reason}).",
    serving.BroughtIn: "Release {release}, which serves, was brought in again ({reason}).",
    serving.EndpointsNotReached: "Release {release} serves; not reached: {endpoints}.",
    serving.CanaryFailed: "Release {release} answered the canary wrongly.",
    serving.ActAsked: "Asked for a {act} of release {release}. {reason:maybe}",
    serving.ActStep: "The act of line {asked}: {step}.",
    serving.ActEnded: "The act of line {asked} ended: {said}.",
    serving.GoldenFailed: "Golden studies took release {release} back.",
    serving.VersionWritten: "Release {release} was written for the servers.",
    serving.VersionTakenOut: "Release {release} held other files than were written, and was taken out.",
    serving.ServedProven: "Release {release} answers as was proven ({profile}).",
    serving.ServedDiffers: "Release {release} does not answer as was proven: {why}",
    serving.GpuProven: "The proofs on a GPU passed: {target}, {device}.",
    operations.NightEnded: "A night came to its end; its candidate: {release}.",
    operations.PeopleTold: "People were told of {matters:count} matters.",
    operations.PeopleNotTold: "People could not be told what waits for them: {why}",
    operations.BackupTaken: "A backup was taken, {files} files.",
    operations.BackupFailed: "A backup could not be taken: {why}",
    operations.RunFreed: "A run that nobody worked on was ended: {why}",
    operations.PlaceFreed: "{places} places were given back to {deployment}.",
    operations.RowsSealed: "Rows that an earlier version had written were sealed.",
    operations.NightStarted: "Had a night begin: run {run:short}.",
    operations.NightStopped: "Ended a night that was {was}: run {run:short} ({reason}).",
}
"""By kind; what stands in braces is a field of it, and behind a colon how that is said (`_Said`)."""

SHORT = 8
"""Characters of an identifier."""


def sentence(event: Event) -> str:
    """Return what an event says, for a person."""
    told = {one.name: _Said(getattr(event, one.name)) for one in fields(event)}
    return " ".join(SENTENCES[type(event)].format_map(told).split()).replace(" ,", ",")


class _Said:
    """A value of an event, in words."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __format__(self, how: str) -> str:
        value = self._value
        if how == "yes":
            return "yes" if value else "no"
        if how == "short":
            return str(value)[:SHORT]
        if how == "share":
            return "not measured" if value is None else f"{value:.2f}"
        if isinstance(value, Mapping):
            return _flags(value)
        if isinstance(value, list | tuple):
            if how == "count":
                return str(len(value))
            return ", ".join(name_of(str(one)) if how == "organs" else str(one) for one in value) or "none"
        if how == "organs":
            return name_of(str(value))
        if value is None:
            return "" if how == "maybe" else "none"
        return str(value)


def _flags(flags: Mapping[str, str | None]) -> str:
    """Return how many organs bear each flag."""
    counted: dict[str, int] = {}
    for flag in flags.values():
        counted[flag or "none"] = counted.get(flag or "none", 0) + 1
    return ", ".join(f"{number} {flag}" for flag, number in sorted(counted.items())) or "none"
