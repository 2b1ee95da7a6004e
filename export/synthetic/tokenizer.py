"""A tokenizer of the same kind as UMT5's, with a vocabulary of characters."""

from __future__ import annotations

import string
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import NFKC
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing

SPECIAL = ("<pad>", "</s>", "<unk>")
_CHARACTERS = string.ascii_letters + string.digits + string.punctuation + "视频中的人在做动作"
_WORDS = ("▁the", "▁a", "▁person", "▁in", "▁video", "ing", "er", "th", "an", "on")


def write_tokenizer(path: Path) -> int:
    """Write tokenizer.json and return the size of its vocabulary.

    Unigram after NFKC and with a leading space, as upstream; `</s>` closes every text; what is
    not in the vocabulary becomes `<unk>`, so any text is accepted.
    """
    pieces = ["▁", *_CHARACTERS, *_WORDS]
    scores = [(piece, 0.0) for piece in SPECIAL]
    scores += [(piece, -2.0 - 3.0 / len(piece)) for piece in pieces]
    tokenizer = Tokenizer(Unigram(scores, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = NFKC()
    tokenizer.pre_tokenizer = Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return int(tokenizer.get_vocab_size())
