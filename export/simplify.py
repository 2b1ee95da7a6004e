"""Simplifies a traced graph: constants folded, no-ops removed, equal parts merged.

The passes of `onnxscript.optimizer.optimize`, with the rewrite rules that our graphs give work to,
until nothing changes. One of the library's other rules (two slices into a split) looks at every
pair of nodes: on the 40 blocks of the full-size denoiser it took half of the whole trace and found
nothing.
"""

from __future__ import annotations

import onnx_ir
import onnxscript.optimizer
from onnx_ir.passes import PassManager, PassResult, Sequential, common
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules.common import (
    add_0_rule,
    cast_constant_of_shape_rule,
    cast_constant_of_shape_without_value_rule,
    collapse_slice2_rule,
    collapse_slice_rule,
    flatten_to_reshape_rule,
    fuse_pad_into_conv_rule,
    materialize_reshape_shape_rule,
    no_op_cast_rule,
    no_op_expand_rule,
    normalize_pad_format_conv_rule,
    remove_optional_bias_from_conv_rule,
    reshape_reshape_rule,
)

_ROUNDS = 4  # at most
_RULES = (
    *add_0_rule.commute(),
    cast_constant_of_shape_rule,
    cast_constant_of_shape_without_value_rule,
    collapse_slice_rule,
    collapse_slice2_rule,
    materialize_reshape_shape_rule,
    no_op_cast_rule,
    no_op_expand_rule,
    flatten_to_reshape_rule,
    reshape_reshape_rule,
    normalize_pad_format_conv_rule,
    fuse_pad_into_conv_rule,
    remove_optional_bias_from_conv_rule,
)


def simplify(model: onnx_ir.Model) -> None:
    """Simplify `model` in place. Initializers without data are left as they are."""
    rounds = PassManager(
        [
            _FoldConstants(),
            RewritePass(_RULES),
            common.RemoveUnusedNodesPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
            common.DeduplicateInitializersPass(),
            common.CommonSubexpressionEliminationPass(),
        ],
        steps=_ROUNDS,
        early_stop=True,
    )
    Sequential(
        common.InlinePass(),
        rounds,
        common.RemoveUnusedOpsetsPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


class _FoldConstants(onnx_ir.passes.InPlacePass):
    def call(self, model: onnx_ir.Model) -> PassResult:
        result = onnxscript.optimizer.fold_constants(model, onnx_shape_inference=False)
        return PassResult(model, bool(result))
