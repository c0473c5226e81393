"""What came of a study: proven objects that are stored nowhere yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.calibration.random_audit import record_audit
from flows.segmentation.document import NotUsed
from models.findings import StudyFindings
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.provenance import site_of
from services.dicom.results.write import ResultObject
from services.records.events.results import StudySegmented
from services.records.port import Log, Records


@dataclass(frozen=True, eq=False)
class Made:
    """Proven objects that are stored nowhere yet.

    Parameters
    ----------
    series, findings, objects
        As of `flows.segmentation.segment.SegmentedStudy`.
    set_aside
        What else bears the UID of the series.
    key
        Of the result.
    """

    series: CTSeries
    findings: StudyFindings
    objects: tuple[ResultObject, ...]
    set_aside: tuple[NotUsed, ...]
    key: str

    def record(self, records: Records) -> None:
        """Record the result, and what was claimed of it if it was drawn for the audit."""
        records.record_result(
            self.key,
            study_uid=self.series.study_uid,
            series_uid=self.series.series_uid,
            release=self.findings.release,
            objects={item.kind: item.sop_instance_uid for item in self.objects},
            site=site_of(self.series),
        )
        record_audit(records, self.key, self.series.study_uid, self.series.series_uid, self.findings)

    def record_cost(self, seconds: Mapping[str, float], log: Log) -> None:
        """Record what the result cost, once; written again it counts no second time."""
        event = StudySegmented(
            study_uid=self.series.study_uid,
            release=self.findings.release,
            seconds=seconds,
            flags={one.organ: one.flag for one in self.findings.organs},
            result=self.key,
            targets=self.findings.targets,
        )
        log.record(event, who="segment_study", key=event.key(self.key))
