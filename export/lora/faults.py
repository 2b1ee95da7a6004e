"""What can be wrong with an adapter file, one word each: `LoraError.kind`."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """The kinds of defect. The first three are skipped with --allow-unmatched; the rest mean that
    the file (or the command line) is broken, and are refused always."""

    SHAPE_MISMATCH = "shape_mismatch"  # the module exists, the change does not fit its weight
    UNKNOWN_MODULE = "unknown_module"  # the tail is known, the model has no such module
    UNKNOWN_KEY = "unknown_key"  # the tail is not known

    BAD_CONTAINER = "bad_container"  # not a well-formed file
    NO_TENSORS = "no_tensors"  # well-formed, but nothing inside
    UNSAFE_PICKLE = "unsafe_pickle"  # a pickle that holds more than tensors
    UNSUPPORTED_DTYPE = "unsupported_dtype"  # factors that are not floating point
    NON_FINITE = "non_finite"  # NaN or infinity in a tensor or in the folded weight
    INCOMPLETE_MODULE = "incomplete_module"  # half of a pair
    RANK_MISMATCH = "rank_mismatch"  # the inner sizes of two factors differ
    DUPLICATE_MODULE = "duplicate_module"  # one weight addressed twice in one file
    NOTHING_MATCHED = "nothing_matched"  # every module was skipped
    BAD_ALPHA = "bad_alpha"  # alpha is not one number
    BAD_STRENGTH = "bad_strength"  # strength is not a finite number
    BAD_CONFIG = "bad_config"  # adapter_config.json cannot be used
    BAD_SPEC = "bad_spec"  # the SPEC of the command line cannot be read
