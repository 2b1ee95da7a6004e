# mypy: ignore-errors
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
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

class UploadRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("name", "nbytes", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    nbytes: int
    sha256: str
    def __init__(self, name: _Optional[str] = ..., nbytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

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

class SubmitRequest(_message.Message):
    __slots__ = ("reference", "pose", "face", "background", "mask", "mode", "prompt", "negative_prompt", "sampling", "seed", "noise", "segment_frames", "overlap", "output_format", "idempotency_key", "last_frame", "frames", "area", "timeout_s")
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
    def __init__(self, reference: _Optional[str] = ..., pose: _Optional[str] = ..., face: _Optional[str] = ..., background: _Optional[str] = ..., mask: _Optional[str] = ..., mode: _Optional[_Union[Mode, str]] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., seed: _Optional[int] = ..., noise: _Optional[str] = ..., segment_frames: _Optional[int] = ..., overlap: _Optional[int] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., idempotency_key: _Optional[str] = ..., last_frame: _Optional[str] = ..., frames: _Optional[int] = ..., area: _Optional[int] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "state", "output_format", "result_nbytes", "latest")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    RESULT_NBYTES_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: JobState
    output_format: OutputFormat
    result_nbytes: int
    latest: Event
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., result_nbytes: _Optional[int] = ..., latest: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "job_id", "state", "stage", "segment", "segments", "step", "steps", "timestep", "expert", "frames", "total_frames", "elapsed_s", "eta_s", "error")
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
    def __init__(self, sequence: _Optional[int] = ..., job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., stage: _Optional[str] = ..., segment: _Optional[int] = ..., segments: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., timestep: _Optional[int] = ..., expert: _Optional[_Union[Expert, str]] = ..., frames: _Optional[int] = ..., total_frames: _Optional[int] = ..., elapsed_s: _Optional[float] = ..., eta_s: _Optional[float] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("kind", "given", "expected", "action", "field", "exit_code")
    KIND_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    given: str
    expected: str
    action: str
    field: str
    exit_code: int
    def __init__(self, kind: _Optional[str] = ..., given: _Optional[str] = ..., expected: _Optional[str] = ..., action: _Optional[str] = ..., field: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_sequence: int
    def __init__(self, job_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("job_id", "offset")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    offset: int
    def __init__(self, job_id: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("offset", "chunk", "nbytes")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    offset: int
    chunk: bytes
    nbytes: int
    def __init__(self, offset: _Optional[int] = ..., chunk: _Optional[bytes] = ..., nbytes: _Optional[int] = ...) -> None: ...
