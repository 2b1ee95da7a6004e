# mypy: ignore-errors
import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_ANIMATE: _ClassVar[Mode]
    MODE_REPLACE: _ClassVar[Mode]

class Solver(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOLVER_UNSPECIFIED: _ClassVar[Solver]
    SOLVER_UNIPC: _ClassVar[Solver]
    SOLVER_DPMPP: _ClassVar[Solver]
    SOLVER_EULER: _ClassVar[Solver]

class OutputFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_FORMAT_UNSPECIFIED: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_MP4: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_FLOAT32: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_UINT8: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_PNG: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_RAW: _ClassVar[OutputFormat]

class MaskSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_SOURCE_UNSPECIFIED: _ClassVar[MaskSource]
    MASK_SOURCE_SAM2: _ClassVar[MaskSource]
    MASK_SOURCE_BOX: _ClassVar[MaskSource]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_DONE: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]
    JOB_STATE_PAUSED: _ClassVar[JobState]

class Expert(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPERT_UNSPECIFIED: _ClassVar[Expert]
    EXPERT_HIGH: _ClassVar[Expert]
    EXPERT_LOW: _ClassVar[Expert]

class PictureFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PICTURE_FORMAT_UNSPECIFIED: _ClassVar[PictureFormat]
    PICTURE_FORMAT_JPEG: _ClassVar[PictureFormat]
    PICTURE_FORMAT_PNG: _ClassVar[PictureFormat]
    PICTURE_FORMAT_RAW: _ClassVar[PictureFormat]

class Artifact(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARTIFACT_UNSPECIFIED: _ClassVar[Artifact]
    ARTIFACT_RESULT: _ClassVar[Artifact]
    ARTIFACT_FRAMES: _ClassVar[Artifact]
    ARTIFACT_IMAGE: _ClassVar[Artifact]

class Model(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_UNSPECIFIED: _ClassVar[Model]
    MODEL_ANIMATE: _ClassVar[Model]
    MODEL_IMAGE_TO_VIDEO: _ClassVar[Model]

class BundleState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUNDLE_STATE_UNSPECIFIED: _ClassVar[BundleState]
    BUNDLE_STATE_LOADING: _ClassVar[BundleState]
    BUNDLE_STATE_SERVING: _ClassVar[BundleState]
    BUNDLE_STATE_DRAINING: _ClassVar[BundleState]
    BUNDLE_STATE_BROKEN: _ClassVar[BundleState]
MODE_UNSPECIFIED: Mode
MODE_ANIMATE: Mode
MODE_REPLACE: Mode
SOLVER_UNSPECIFIED: Solver
SOLVER_UNIPC: Solver
SOLVER_DPMPP: Solver
SOLVER_EULER: Solver
OUTPUT_FORMAT_UNSPECIFIED: OutputFormat
OUTPUT_FORMAT_MP4: OutputFormat
OUTPUT_FORMAT_FLOAT32: OutputFormat
OUTPUT_FORMAT_UINT8: OutputFormat
OUTPUT_FORMAT_PNG: OutputFormat
OUTPUT_FORMAT_RAW: OutputFormat
MASK_SOURCE_UNSPECIFIED: MaskSource
MASK_SOURCE_SAM2: MaskSource
MASK_SOURCE_BOX: MaskSource
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_DONE: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_STATE_PAUSED: JobState
EXPERT_UNSPECIFIED: Expert
EXPERT_HIGH: Expert
EXPERT_LOW: Expert
PICTURE_FORMAT_UNSPECIFIED: PictureFormat
PICTURE_FORMAT_JPEG: PictureFormat
PICTURE_FORMAT_PNG: PictureFormat
PICTURE_FORMAT_RAW: PictureFormat
ARTIFACT_UNSPECIFIED: Artifact
ARTIFACT_RESULT: Artifact
ARTIFACT_FRAMES: Artifact
ARTIFACT_IMAGE: Artifact
MODEL_UNSPECIFIED: Model
MODEL_ANIMATE: Model
MODEL_IMAGE_TO_VIDEO: Model
BUNDLE_STATE_UNSPECIFIED: BundleState
BUNDLE_STATE_LOADING: BundleState
BUNDLE_STATE_SERVING: BundleState
BUNDLE_STATE_DRAINING: BundleState
BUNDLE_STATE_BROKEN: BundleState

class UploadRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("name", "nbytes", "sha256", "offset")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    name: str
    nbytes: int
    sha256: str
    offset: int
    def __init__(self, name: _Optional[str] = ..., nbytes: _Optional[int] = ..., sha256: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class UploadStatusRequest(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class UploadStatusResponse(_message.Message):
    __slots__ = ("upload_id", "received_nbytes")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_NBYTES_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    received_nbytes: int
    def __init__(self, upload_id: _Optional[str] = ..., received_nbytes: _Optional[int] = ...) -> None: ...

class UploadResponse(_message.Message):
    __slots__ = ("upload_id", "nbytes")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    nbytes: int
    def __init__(self, upload_id: _Optional[str] = ..., nbytes: _Optional[int] = ...) -> None: ...

class Guidance(_message.Message):
    __slots__ = ("high", "low")
    HIGH_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    high: float
    low: float
    def __init__(self, high: _Optional[float] = ..., low: _Optional[float] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("steps", "solver", "shift", "guidance")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SOLVER_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    steps: int
    solver: Solver
    shift: float
    guidance: Guidance
    def __init__(self, steps: _Optional[int] = ..., solver: _Optional[_Union[Solver, str]] = ..., shift: _Optional[float] = ..., guidance: _Optional[_Union[Guidance, _Mapping]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: float
    top: float
    right: float
    bottom: float
    def __init__(self, left: _Optional[float] = ..., top: _Optional[float] = ..., right: _Optional[float] = ..., bottom: _Optional[float] = ...) -> None: ...

class FrameRate(_message.Message):
    __slots__ = ("numerator", "denominator")
    NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    numerator: int
    denominator: int
    def __init__(self, numerator: _Optional[int] = ..., denominator: _Optional[int] = ...) -> None: ...

class Preparation(_message.Message):
    __slots__ = ("point", "box", "retarget", "reference_keypoints", "edited_driver", "edited_character", "mask_from", "smooth_points_s", "smooth_faces_s", "face_size", "rate", "width", "height")
    POINT_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    RETARGET_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    EDITED_DRIVER_FIELD_NUMBER: _ClassVar[int]
    EDITED_CHARACTER_FIELD_NUMBER: _ClassVar[int]
    MASK_FROM_FIELD_NUMBER: _ClassVar[int]
    SMOOTH_POINTS_S_FIELD_NUMBER: _ClassVar[int]
    SMOOTH_FACES_S_FIELD_NUMBER: _ClassVar[int]
    FACE_SIZE_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    point: Point
    box: Box
    retarget: bool
    reference_keypoints: str
    edited_driver: str
    edited_character: str
    mask_from: MaskSource
    smooth_points_s: float
    smooth_faces_s: float
    face_size: int
    rate: FrameRate
    width: int
    height: int
    def __init__(self, point: _Optional[_Union[Point, _Mapping]] = ..., box: _Optional[_Union[Box, _Mapping]] = ..., retarget: _Optional[bool] = ..., reference_keypoints: _Optional[str] = ..., edited_driver: _Optional[str] = ..., edited_character: _Optional[str] = ..., mask_from: _Optional[_Union[MaskSource, str]] = ..., smooth_points_s: _Optional[float] = ..., smooth_faces_s: _Optional[float] = ..., face_size: _Optional[int] = ..., rate: _Optional[_Union[FrameRate, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("reference", "pose", "face", "background", "mask", "mode", "prompt", "negative_prompt", "sampling", "seed", "noise", "segment_frames", "overlap", "output_format", "idempotency_key", "last_frame", "frames", "area", "timeout_s", "video", "keypoints", "matte", "preparation", "bundle", "priority", "title", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    POSE_FIELD_NUMBER: _ClassVar[int]
    FACE_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FRAMES_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LAST_FRAME_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    MATTE_FIELD_NUMBER: _ClassVar[int]
    PREPARATION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    reference: str
    pose: str
    face: str
    background: str
    mask: str
    mode: Mode
    prompt: str
    negative_prompt: str
    sampling: Sampling
    seed: int
    noise: str
    segment_frames: int
    overlap: int
    output_format: OutputFormat
    idempotency_key: str
    last_frame: str
    frames: int
    area: int
    timeout_s: float
    video: str
    keypoints: str
    matte: str
    preparation: Preparation
    bundle: str
    priority: float
    title: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, reference: _Optional[str] = ..., pose: _Optional[str] = ..., face: _Optional[str] = ..., background: _Optional[str] = ..., mask: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., seed: _Optional[int] = ..., noise: _Optional[str] = ..., segment_frames: _Optional[int] = ..., overlap: _Optional[int] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., idempotency_key: _Optional[str] = ..., last_frame: _Optional[str] = ..., frames: _Optional[int] = ..., area: _Optional[int] = ..., timeout_s: _Optional[float] = ..., video: _Optional[str] = ..., keypoints: _Optional[str] = ..., matte: _Optional[str] = ..., preparation: _Optional[_Union[Preparation, _Mapping]] = ..., bundle: _Optional[str] = ..., priority: _Optional[float] = ..., title: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "state", "output_format", "result_nbytes", "latest", "title", "labels", "priority", "bundle", "submitted", "finished", "video")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    RESULT_NBYTES_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: JobState
    output_format: OutputFormat
    result_nbytes: int
    latest: Event
    title: str
    labels: _containers.ScalarMap[str, str]
    priority: float
    bundle: str
    submitted: _timestamp_pb2.Timestamp
    finished: _timestamp_pb2.Timestamp
    video: VideoFormat
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., result_nbytes: _Optional[int] = ..., latest: _Optional[_Union[Event, _Mapping]] = ..., title: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., priority: _Optional[float] = ..., bundle: _Optional[str] = ..., submitted: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., video: _Optional[_Union[VideoFormat, _Mapping]] = ...) -> None: ...

class VideoFormat(_message.Message):
    __slots__ = ("width", "height", "frames", "rate", "sample_nbytes")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_NBYTES_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    frames: int
    rate: FrameRate
    sample_nbytes: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., frames: _Optional[int] = ..., rate: _Optional[_Union[FrameRate, _Mapping]] = ..., sample_nbytes: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "job_id", "state", "stage", "segment", "segments", "step", "steps", "timestep", "expert", "frames", "total_frames", "elapsed_s", "eta_s", "error", "preview")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    TIMESTEP_FIELD_NUMBER: _ClassVar[int]
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    ETA_S_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    job_id: str
    state: JobState
    stage: str
    segment: int
    segments: int
    step: int
    steps: int
    timestep: int
    expert: Expert
    frames: int
    total_frames: int
    elapsed_s: float
    eta_s: float
    error: Error
    preview: Preview
    def __init__(self, sequence: _Optional[int] = ..., job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., stage: _Optional[str] = ..., segment: _Optional[int] = ..., segments: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., timestep: _Optional[int] = ..., expert: _Optional[_Union[Expert, str]] = ..., frames: _Optional[int] = ..., total_frames: _Optional[int] = ..., elapsed_s: _Optional[float] = ..., eta_s: _Optional[float] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., preview: _Optional[_Union[Preview, _Mapping]] = ...) -> None: ...

class PreviewRequest(_message.Message):
    __slots__ = ("format", "max_pictures")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    MAX_PICTURES_FIELD_NUMBER: _ClassVar[int]
    format: PictureFormat
    max_pictures: int
    def __init__(self, format: _Optional[_Union[PictureFormat, str]] = ..., max_pictures: _Optional[int] = ...) -> None: ...

class Preview(_message.Message):
    __slots__ = ("format", "width", "height", "pictures", "frames")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    format: PictureFormat
    width: int
    height: int
    pictures: _containers.RepeatedScalarFieldContainer[bytes]
    frames: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, format: _Optional[_Union[PictureFormat, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., pictures: _Optional[_Iterable[bytes]] = ..., frames: _Optional[_Iterable[int]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("kind", "given", "expected", "action", "field", "exit_code", "retry_after_s")
    KIND_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    kind: str
    given: str
    expected: str
    action: str
    field: str
    exit_code: int
    retry_after_s: float
    def __init__(self, kind: _Optional[str] = ..., given: _Optional[str] = ..., expected: _Optional[str] = ..., action: _Optional[str] = ..., field: _Optional[str] = ..., exit_code: _Optional[int] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence", "preview")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_sequence: int
    preview: PreviewRequest
    def __init__(self, job_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., preview: _Optional[_Union[PreviewRequest, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("states", "labels", "submitted_from", "submitted_before", "page_size", "page_token")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FROM_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[JobState]
    labels: _containers.ScalarMap[str, str]
    submitted_from: _timestamp_pb2.Timestamp
    submitted_before: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, states: _Optional[_Iterable[_Union[JobState, str]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., submitted_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., submitted_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("job_id", "offset", "artifact", "frame", "follow")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    offset: int
    artifact: Artifact
    frame: int
    follow: bool
    def __init__(self, job_id: _Optional[str] = ..., offset: _Optional[int] = ..., artifact: _Optional[_Union[Artifact, str]] = ..., frame: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("offset", "chunk", "nbytes")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    offset: int
    chunk: bytes
    nbytes: int
    def __init__(self, offset: _Optional[int] = ..., chunk: _Optional[bytes] = ..., nbytes: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("job", "preview")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    job: SubmitRequest
    preview: PreviewRequest
    def __init__(self, job: _Optional[_Union[SubmitRequest, _Mapping]] = ..., preview: _Optional[_Union[PreviewRequest, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("job", "event", "content")
    JOB_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    job: Job
    event: Event
    content: FetchResponse
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., content: _Optional[_Union[FetchResponse, _Mapping]] = ...) -> None: ...

class BundlesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddBundleRequest(_message.Message):
    __slots__ = ("path", "name")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    path: str
    name: str
    def __init__(self, path: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class DrainBundleRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveBundleRequest(_message.Message):
    __slots__ = ("name", "cancel_jobs")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CANCEL_JOBS_FIELD_NUMBER: _ClassVar[int]
    name: str
    cancel_jobs: bool
    def __init__(self, name: _Optional[str] = ..., cancel_jobs: _Optional[bool] = ...) -> None: ...

class BundlesResponse(_message.Message):
    __slots__ = ("bundles",)
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[Bundle]
    def __init__(self, bundles: _Optional[_Iterable[_Union[Bundle, _Mapping]]] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("name", "digest", "model", "precision", "state", "loras", "limits", "finds_people", "cuts_out_people", "sampling", "unfinished_jobs", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FINDS_PEOPLE_FIELD_NUMBER: _ClassVar[int]
    CUTS_OUT_PEOPLE_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_JOBS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    model: Model
    precision: str
    state: BundleState
    loras: _containers.RepeatedCompositeFieldContainer[Lora]
    limits: Limits
    finds_people: bool
    cuts_out_people: bool
    sampling: Sampling
    unfinished_jobs: int
    error: Error
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., model: _Optional[_Union[Model, str]] = ..., precision: _Optional[str] = ..., state: _Optional[_Union[BundleState, str]] = ..., loras: _Optional[_Iterable[_Union[Lora, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., finds_people: _Optional[bool] = ..., cuts_out_people: _Optional[bool] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., unfinished_jobs: _Optional[int] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Lora(_message.Message):
    __slots__ = ("expert", "name", "sha256", "strength")
    EXPERT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    expert: Expert
    name: str
    sha256: str
    strength: float
    def __init__(self, expert: _Optional[_Union[Expert, str]] = ..., name: _Optional[str] = ..., sha256: _Optional[str] = ..., strength: _Optional[float] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("size_multiple", "max_steps", "max_upload_nbytes", "max_unfinished_jobs", "output_formats")
    SIZE_MULTIPLE_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_UPLOAD_NBYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_UNFINISHED_JOBS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMATS_FIELD_NUMBER: _ClassVar[int]
    size_multiple: int
    max_steps: int
    max_upload_nbytes: int
    max_unfinished_jobs: int
    output_formats: _containers.RepeatedScalarFieldContainer[OutputFormat]
    def __init__(self, size_multiple: _Optional[int] = ..., max_steps: _Optional[int] = ..., max_upload_nbytes: _Optional[int] = ..., max_unfinished_jobs: _Optional[int] = ..., output_formats: _Optional[_Iterable[_Union[OutputFormat, str]]] = ...) -> None: ...
