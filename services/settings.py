"""Every setting of Organloop, read once from ``ORGANLOOP_*`` variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from models.errors import Refused
from models.organ_rows import known_organs, read_rows
from models.series.choice import SeriesRules
from models.targets import Targets
from services.people.settings import PeopleSettings

SECRETS = Path("/run/secrets")
"""Where a container finds what is secret as files."""


class Settings(PeopleSettings):
    """The settings of one process; frozen once read.

    A field ``triton_url`` is set by the variable ``ORGANLOOP_TRITON_URL``, and so on; where there is no such
    variable, by the file ``organloop_triton_url`` among the secrets. A variable that is empty, as Compose
    passes one on that nobody set, is none.
    """

    model_config = SettingsConfigDict(
        env_prefix="ORGANLOOP_",
        env_ignore_empty=True,
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    home: Path = Field(Path(".organloop"), description="Folder in which all state lives.")
    work: Path | None = Field(
        None,
        description="Folder for studies while they are worked on, on this machine's own disk: one a run, "
        "removed at its end. Unset: `work` in the home folder.",
    )
    triton_url: str | None = Field(
        None,
        description="Triton's gRPC address, host:port. Unset: the stack started by `organloop up`.",
    )
    triton_endpoints: str | None = Field(
        None,
        description="Addresses, host:port with commas between, of every Triton that a release must be loaded "
        "on before it serves. Unset: ORGANLOOP_TRITON_URL alone.",
    )
    triton_serving_key: SecretStr | None = Field(
        None, description="Key by which Triton answers volumes. Unset: it asks for none."
    )
    triton_release_key: SecretStr | None = Field(
        None,
        description="Key by which Triton loads releases; only what gates, promotes and rolls back needs it. "
        "Unset: it asks for none.",
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy address of the records. Unset: SQLite in the home folder.",
    )
    database_owner_url: SecretStr | None = Field(
        None,
        description="The same with the name of the records' owner, who alone changes the schema: for "
        "`prepare` and `restore` only. Unset: ORGANLOOP_DATABASE_URL names the owner.",
    )
    database_reader_url: SecretStr | None = Field(
        None,
        description="The same with the name of a role that `prepare` lets read, for metrics and probes; made "
        "with its password if it is not there. Unset: none.",
    )
    database_backup_url: SecretStr | None = Field(
        None,
        description="The same with the name of a role that `prepare` lets take backups. Unset: none.",
    )
    orthanc_url: str | None = Field(
        None,
        description="Orthanc's REST address, http://host:port. Unset: the archive started by `organloop up`.",
    )
    dicomweb_url: str | None = Field(
        None,
        description="DICOMweb address of the archive, http://host:port/path. Unset: Orthanc's /dicom-web.",
    )
    archive_user: str | None = Field(None, description="User name at Orthanc and DICOMweb.")
    archive_password: SecretStr | None = Field(None, description="Password at Orthanc and DICOMweb.")
    archive_reader_user: str | None = Field(
        None,
        description="User name of those who look and save, at that DICOMweb. Unset: where there is one for "
        "`ORGANLOOP_ARCHIVE_USER`, the browser asks for theirs.",
    )
    archive_reader_password: SecretStr | None = Field(None, description="Password of that user.")
    archive_ca_file: Path | None = Field(
        None, description="Certificates that the archive's TLS is checked against. Unset: the system's."
    )
    archive_deadline_seconds: PositiveFloat = Field(
        60.0, description="Longest wait for one answer of the archive, seconds."
    )
    study_limit_objects: PositiveInt = Field(
        20_000, description="The most objects of a study that is fetched; a larger one is `too-large`."
    )
    study_limit_mib: PositiveInt = Field(
        8_192, description="The largest study that is fetched, all files together, MiB."
    )
    study_memory_mib: PositiveInt = Field(
        8_192,
        description="Memory that a worker has for one run, MiB. A series that may take more while it is "
        "segmented is `too-large`.",
    )
    serving_memory_mib: PositiveInt = Field(
        8_192,
        description="Memory that the segmenter has for one study beside its releases, MiB. A series that may "
        "take more is `too-large`.",
    )
    query_modality: str | None = Field(
        None,
        description="Name, in Orthanc's DicomModalities, of the PACS that studies are queried and "
        "retrieved from. Unset: studies are only taken as they are pushed.",
    )
    watch_from: Literal["beginning", "now"] = Field(
        "beginning",
        description="Where the archive's feed is first read: `beginning` segments all it holds, `now` only "
        "what comes after the first watch. One without a feed is queried from the day before that on.",
    )
    serving_deadline_seconds: PositiveFloat = Field(
        120.0, description="Longest wait for one answer of the segmenter, seconds."
    )
    serving_transport: Literal["auto", "shared-memory", "compressed", "plain"] = Field(
        "auto",
        description="How volumes reach Triton: `shared-memory`, gRPC `compressed` or `plain`; `auto` is "
        "shared memory where its address is this host's loopback, else compressed.",
    )
    threads: PositiveInt = Field(
        2,
        description="Threads of the engine. Part of the serving profile: another number, other bits.",
    )
    studies_at_once: PositiveInt = Field(
        8,
        description="Runs of studies that wait or run at a time; what is urgent stands behind no more. At "
        "least as many as all workers together do.",
    )
    tuning_pool: str | None = Field(
        None,
        description="Prefect work pool that tuning runs in, e.g. a Kubernetes pool whose jobs ask for a GPU. "
        "Unset: the workers' own.",
    )
    triton_target: Literal["python", "onnxruntime", "tensorrt"] = Field(
        "python",
        description="What the model repository is written for: `python`, OpenVINO on the CPU; `onnxruntime` "
        "or `tensorrt`, a GPU server.",
    )
    triton_device: str | None = Field(
        None,
        description="GPU and server of a GPU target, as `python -m services.inference.gpu_device` prints "
        "them there. Part of the serving profile.",
    )
    tensorrt_precision: Literal["fp32", "fp16"] = Field(
        "fp32", description="Precision of the trunk's engine for the target `tensorrt`."
    )
    audit_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of studies, drawn at random, whose organs are for review whatever their flags "
        "say. 0: no bound is ever checked.",
    )
    approval_required: bool | None = Field(
        None,
        description="Whether the gate lets nothing pass without asking for a named person. Unset: yes, "
        "unless the weights are for demonstration only.",
    )
    tuning_device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where heads are tuned: `cpu` or `cuda`, there with products in bfloat16."
    )
    keep_features_days: float = Field(
        30.0,
        ge=0,
        description="How long features are kept that were sampled while serving, for tuning without the "
        "trunk, days. 0: none are kept.",
    )
    keep_unsent_days: float = Field(
        30.0,
        ge=0,
        description="How long results are kept that were made while the site was silent, days; those of a "
        "series with a case (`cases add`), as long as the case.",
    )
    keep_pictures_days: float = Field(
        30.0,
        ge=0,
        description="How long pictures of organs are kept, by which readers judge studies on the pages, "
        "days. 0: none are made.",
    )
    image_digest: str | None = Field(
        None,
        description="Digest of the container image this runs in, as reports and evidence packs name it. "
        "Unset: none.",
    )
    release_keys: Path | None = Field(
        None,
        description="Public key in PEM, or folder of such files, *.pem, of those whose releases are taken "
        "in; what they did not sign is refused. Unset: unsigned ones are taken in, and are on record as "
        "such.",
    )
    readers_disagree: Literal["ask", "latest"] = Field(
        "ask",
        description="What teaches where readers disagree on an organ: `ask`, nothing until one of them is "
        "withdrawn; `latest`, the correction that came last.",
    )
    teach_from_pictures: bool = Field(
        False,
        description="Whether acceptances given from pictures on the pages teach heads, at half the weight, "
        "in studies in which a reader drew another organ. They enter no calibration, gate or audit.",
    )
    seg_profile: Literal["ohif", "slicer", "labelmap"] = Field(
        "ohif", description="How the organ SEG is encoded, by the viewer that will open it."
    )
    seg_label_flags: bool = Field(
        False,
        description="Whether the names of the organ SEG's segments tell the flags too: `Stomach (check)`, "
        "`Aorta (STOP)`.",
    )
    secondary_capture: bool = Field(
        False,
        description="Whether a page goes with the results as a Secondary Capture image, for a PACS that "
        "shows no SEG: flags, volumes, bounds and pictures of what is flagged.",
    )
    series_rules: Path | None = Field(
        None,
        description="File of rules that choose the series of a study. Unset: models/series/choice.toml.",
    )
    organs: Path | None = Field(
        None,
        description="File of codes and colours of organs outside the catalogue, for networks that are "
        "imported. Unset: none.",
    )
    targets: Path | None = Field(
        None,
        description="File of DSC targets and gate margins that the site has established. Unset: the "
        "catalogue's, and none of a network that was made elsewhere.",
    )
    witness_file: Path | None = Field(
        None,
        description="File, on a volume that is not the home's or the database's, to which the log's head is "
        "added every five minutes. Unset: none.",
    )
    witness_syslog: str | None = Field(
        None,
        description="Syslog receiver, host or host:port (6514), that is told the log's head over TLS every "
        "five minutes. Unset: none.",
    )
    witness_ca_file: Path | None = Field(
        None, description="Certificates that the receiver's TLS is checked against. Unset: the system's."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Form of the command's log on stderr: lines for a person, or JSON documents."
    )
    archive_port: PositiveInt = Field(
        8042, description="Port of the local Orthanc's HTTP on 127.0.0.1; a free one if it is taken."
    )
    archive_dicom_port: PositiveInt = Field(
        4242, description="Port of the local Orthanc's DIMSE on 127.0.0.1; a free one if it is taken."
    )
    viewer_port: PositiveInt = Field(
        3000, description="Port of the local OHIF on 127.0.0.1; a free one if it is taken."
    )
    pages_port: PositiveInt = Field(
        8500, description="Port of the local pages on 127.0.0.1; a free one if it is taken."
    )
    dashboard_port: PositiveInt = Field(
        4300,
        description="Port of the door to Prefect's dashboard on 127.0.0.1; a free one if it is taken.",
    )
    prefect_port: PositiveInt = Field(
        4200, description="Port of the local Prefect server on 127.0.0.1; a free one if it is taken."
    )

    @field_validator("database_url", "database_owner_url", "database_reader_url", "database_backup_url")
    @classmethod
    def _is_an_address(cls, url: str | SecretStr | None) -> str | SecretStr | None:
        """Refuse at the start what the records could not be opened with later."""
        if url is not None:
            try:
                make_url(url.get_secret_value() if isinstance(url, SecretStr) else url)
            except ArgumentError:
                raise ValueError("no SQLAlchemy address, e.g. postgresql+psycopg://host/name") from None
        return url

    @field_validator("orthanc_url", "dicomweb_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        """Refuse at the start what could not be asked later, and secrets where messages would show them."""
        if url is not None:
            parts = urlsplit(url)
            if "@" in parts.netloc:
                raise ValueError("name and password belong in ORGANLOOP_ARCHIVE_USER and _PASSWORD")
            if not re.fullmatch(r"https?", parts.scheme) or not re.fullmatch(r"[^:]+(:\d+)?", parts.netloc):
                raise ValueError("no address, e.g. http://host:port")
        return url

    @field_validator("organs", "targets", "witness_file", "witness_syslog", "witness_ca_file", mode="before")
    @classmethod
    def _nothing_is_unset(cls, value: object) -> object:
        """Take an empty variable, as Compose passes one on, for none."""
        return None if value == "" else value

    @field_validator("witness_syslog")
    @classmethod
    def _is_a_receiver(cls, address: str | None) -> str | None:
        """Refuse at the start what could not be told later."""
        if address is not None and not re.fullmatch(r"[^:/@\s]+(:\d{1,5})?", address):
            raise ValueError("no receiver, e.g. syslog.hospital.example:6514")
        return address

    @field_validator("series_rules")
    @classmethod
    def _can_choose(cls, path: Path | None) -> Path | None:
        """Refuse at the start a file of rules that no study could be judged by later."""
        if path is not None:
            try:
                SeriesRules.read(path)
            except OSError as error:
                raise ValueError(f"the file cannot be read: {error.strerror}") from None
        return path

    @field_validator("organs")
    @classmethod
    def _can_be_named(cls, path: Path | None) -> Path | None:
        """Refuse at the start a file of organs that no import could read later."""
        if path is not None:
            try:
                read_rows(path)
            except Refused as refused:
                raise ValueError(refused.detail) from None
            except OSError as error:
                raise ValueError(f"{path}: the file cannot be read: {error.strerror}") from None
        return path

    @field_validator("targets")
    @classmethod
    def _can_judge(cls, path: Path | None, known: ValidationInfo) -> Path | None:
        """Refuse at the start a file of targets by which nothing could be judged later."""
        if path is not None and "organs" in known.data:  # else that file is what is wrong
            try:
                Targets.read(path, known_organs(known.data["organs"]))
            except OSError as error:
                raise ValueError(f"{path}: the file cannot be read: {error.strerror}") from None
        return path

    @property
    def people_folder(self) -> Path:
        """Folder of the key that sessions are signed with, and of the local account."""
        return self.home / "people"

    @property
    def work_folder(self) -> Path:
        """Folder of what is fetched for studies while they are worked on."""
        return self.work or self.home / "work"

    @property
    def case_store(self) -> Path:
        """Folder of the cases for tuning, calibration and the gate."""
        return self.home / "cases"

    @property
    def unsent_store(self) -> Path:
        """Folder of the results that were made while the site was silent."""
        return self.home / "unsent"

    @property
    def pictures_folder(self) -> Path:
        """Folder of the pictures of organs that readers are shown."""
        return self.home / "pictures"

    @property
    def score_store(self) -> Path:
        """Folder of what each release scored on each gate case."""
        return self.home / "scores"

    @property
    def release_store(self) -> Path:
        """Folder of trunks, heads and releases."""
        return self.home / "releases"

    @property
    def triton_repository(self) -> Path:
        """Folder from which the local Triton loads."""
        return self.home / "triton" / "repository"

    @property
    def engine_store(self) -> Path:
        """Folder of the TensorRT engines of trunks."""
        return self.home / "triton" / "engines"

    @property
    def archive_home(self) -> Path:
        """Folder of the local archive: its studies, and the accounts that open it."""
        return self.home / "archive"

    @property
    def prefect_home(self) -> Path:
        """Folder of the local Prefect server: its database and its password."""
        return self.home / "prefect"

    @property
    def stack_file(self) -> Path:
        """Where `organloop up` notes the addresses of what it started."""
        return self.home / "stack.json"

    @property
    def records_file(self) -> Path:
        """The records, unless `database_url` says where they are."""
        return self.home / "records.sqlite"

    @property
    def records_url(self) -> str:
        """SQLAlchemy address of the records."""
        return self.database_url or f"sqlite:///{self.records_file.resolve()}"

    @property
    def owner_url(self) -> str:
        """SQLAlchemy address of the records, as who changes their schema."""
        return (
            self.records_url
            if self.database_owner_url is None
            else self.database_owner_url.get_secret_value()
        )
