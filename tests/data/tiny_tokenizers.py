"""Tiny fast tokenizers, built in memory: one token per word, or one per character behind a word mark."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<unk>", "<s>", "</s>")


def word_tokenizer(words: str, *, bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """Every word of `words` is one token; with `bos` or `eos`, texts get them at their ends."""
    vocab = {word: index for index, word in enumerate(dict.fromkeys((*SPECIAL, *words.split())))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _wrapped(tokenizer, bos, eos)


def metaspace_tokenizer(pieces: str, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """As SentencePiece: a word mark begins every word and the text; words not in `pieces` are spelt."""
    tokens = dict.fromkeys((*SPECIAL, "▁", *pieces.split(), *(chr(code) for code in range(33, 127))))
    vocab = [(token, 0.0 if len(token) == 1 else float(len(token))) for token in tokens]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    return _wrapped(tokenizer, bos, eos=False)


def _wrapped(tokenizer: Tokenizer, bos: bool, eos: bool) -> PreTrainedTokenizerFast:
    if bos or eos:
        template = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
