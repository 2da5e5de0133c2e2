"""Pre-tokenizers of byte-level BPE: the rules that `tokenizer.ggml.pre` of a GGUF file names.

A rule is one or more regular expressions: each splits the pieces that the previous ones left. Character
classes are those of Unicode 15.1, as in llama.cpp, whatever the version of the regular expression library.
"""

from __future__ import annotations

from dataclasses import dataclass

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote


def _class(code_points: str) -> str:
    """The content of a character class, from hexadecimal code points and ranges."""
    ranges = [code_point.split("-") for code_point in code_points.split()]
    return "".join("-".join(f"\\x{{{end}}}" for end in ends) for ends in ranges)


_LATER = _class(
    "897 1B4E 1B4F 1B7F 1C89 1C8A 2427-2429 31E4 31E5 A7CB-A7CD A7DA-A7DC 105C0-105F3 10D40-10D65 "
    "10D69-10D85 10D8E 10D8F 10EC2-10EC4 10EFC 11380-113E2 116D0-116E3 11BC0-11BF9 11F5A 13460-143FA "
    "16100-16139 16D40-16D79 18CFF 1CC00-1CEB3 1E5D0-1E5FF 1F8B2-1F8C1 1FA89 1FA8F 1FABE 1FAC6 1FADC "
    "1FADF 1FAE9 1FBCB-1FBEF"
)
"""Code points assigned after Unicode 15.1; in llama.cpp they belong to no class."""

_L, _N, _M, _P, _S = (f"[\\p{{{name}}}&&[^{_LATER}]]" for name in "LNMPS")
"""Letters, numbers (also fractions and Roman ones), marks, punctuation and symbols."""

# Parts of most rules. `\s` is Unicode's white space.
_CONTRACTION = "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
_BEFORE_WORD = f"[^\\r\\n{_L}{_N}]?"
_WORD = f"{_BEFORE_WORD}{_L}+"
_OTHER = f" ?[^\\s{_L}{_N}]+"
_LINES = "\\s*[\\r\\n]+"
_SPACE = "\\s+(?!\\S)|\\s+"
_THREE_NUMBERS = f"{_N}{{1,3}}"

_GPT2 = f"'(?:[stmd]|re|ve|ll)| ?{_L}+| ?{_N}+|{_OTHER}|\\s+(?!\\S)"
_CHINESE_JAPANESE = f"[{_class('4E00-9FA5 3040-30FF')}]+"
_DIGITS_3 = "[0-9]{3}"

# Words that end where a capital begins; outside of ASCII, all letters are both.
_CAPITALS, _SMALL = f"[{_L}&&[^a-z]]", f"[{_L}&&[^A-Z]]"
_CAMEL = (f"{_BEFORE_WORD}{_CAPITALS}*{_SMALL}+", f"{_BEFORE_WORD}{_CAPITALS}+{_SMALL}*")

_CASED = _class(
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 "
    "388-38A 38C 38E-3A1 3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA "
    "1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 "
    "1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC "
    "1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 "
    "213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B "
    "A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F "
    "104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943"
)
"""Letters with two cases, as DeepSeek's rule lists them."""

_EAST_ASIAN = f"[{_class('4E00-9FA5 800-4E00 AC00-D7FF')}&&[^\\s]]+"


def _any(*alternatives: str) -> str:
    return "|".join(alternatives)


def _like_llama3(numbers: str, word: str = _WORD) -> str:
    return _any(_CONTRACTION, word, numbers, f"{_OTHER}[\\r\\n]*", _LINES, _SPACE)


def _like_gpt4o(words: tuple[str, ...], numbers: str, ending: str = "") -> str:
    return _any(*(word + ending for word in words), numbers, f"{_OTHER}[\\r\\n/]*", _LINES, _SPACE)


_DEEPSEEK_V3 = _any(
    "[!-/:-@\\[-`{-~][A-Za-z]+",
    f"[^\\r\\n{_L}{_P}{_S}]?[{_L}{_M}]+",
    f" ?[{_P}{_S}]+[\\r\\n]*",
    _LINES,
    _SPACE,
)
_LETTERS_AND_MARKS = (f"{_BEFORE_WORD}[{_L}{_M}]+",)
_SENTENCES = f" ?[^\\s(|.,!?){_class('2026 3002 FF0C 3001 964 6D4 60C')}]+"


@dataclass(frozen=True)
class PreTokenizer:
    """A rule.

    splits: regular expressions (Oniguruma syntax). whole_words: whether a piece that is a token becomes this
    token without merges. add_bos, bos: whether texts begin with BOS, and its id, if the file does not say.
    """

    splits: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False
    bos: int | None = 11


def _named(names: str, *splits: str, whole_words: bool = False, add_bos: bool = False, bos: int | None = 11) \
        -> dict[str, PreTokenizer]:  # fmt: skip
    return dict.fromkeys(names.split(), PreTokenizer(splits, whole_words, add_bos, bos))


PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    **_named("default", f"[{_P}$+<=>^~|]+", _GPT2, f"{_N}+", _DIGITS_3),
    **_named("falcon", f"[{_P}$+<=>^~|`]+", _GPT2, _DIGITS_3),
    **_named("gpt-2 phi-2 mpt olmo jais gigachat a.x-4.0 mellum exaone4 trillion granite-docling", _GPT2),
    **_named("smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", _N, _GPT2),
    **_named(
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2",
        _like_llama3(_THREE_NUMBERS),
        whole_words=True,
        add_bos=True,
    ),
    **_named("dbrx smaug-bpe", _like_llama3(_THREE_NUMBERS)),
    **_named("glm4 chatglm-bpe", _like_llama3(_THREE_NUMBERS), bos=None),
    **_named(
        "qwen2 stablelm2 megrez deepseek-r1-qwen kormo hunyuan solar-open grok-2",
        _like_llama3(_N),
    ),
    **_named(
        "qwen35",
        _any(
            _CONTRACTION,
            *_LETTERS_AND_MARKS,
            _N,
            f" ?[^\\s{_L}{_M}{_N}]+[\\r\\n]*",
            _LINES,
            _SPACE,
        ),
    ),
    **_named("minicpm5", _THREE_NUMBERS, _like_llama3(f"{_N}+"), whole_words=True),
    **_named(
        "seed-coder",
        _any(_CONTRACTION, _WORD, _N, f" ?[^\\s{_L}{_N}\\r\\n]+", _LINES, _SPACE),
    ),
    **_named(
        "bailingmoe bailingmoe2 llada-moe",
        _any(_CONTRACTION, _WORD, _N, f"{_OTHER}[\\r\\n]*", "\\s*[\\r\\n]", _SPACE),
    ),
    **_named("tekken", _like_gpt4o(_CAMEL, _N), whole_words=True, add_bos=True),
    **_named("gpt-4o llama4 kanana2 minimax-m2", _like_gpt4o(_CAMEL, _THREE_NUMBERS, f"(?:{_CONTRACTION})?")),
    **_named(
        "tiny_aya cohere2moe",
        f"[^{_N}]*{_THREE_NUMBERS}(?=(?:{_N}{{3}})*(?!{_N}))",  # threes from the right, with what is before
        _like_gpt4o(_LETTERS_AND_MARKS, _THREE_NUMBERS, f"(?:{_CONTRACTION})?"),
    ),
    **_named("deepseek-v3 hunyuan-dense joyai-llm", _THREE_NUMBERS, _CHINESE_JAPANESE, _DEEPSEEK_V3),
    **_named("deepseek-coder", "[\\r\\n]", f"\\s?{_L}+", f"\\s?{_P}+", _EAST_ASIAN, _N),
    **_named(
        "deepseek-llm",
        "[\\r\\n]",
        f"\\s?[{_CASED}]+",
        f"\\s?[!-/:-~{_class('FF01-FF0F FF1A-FF5E 2018-201F 3001 3002')}]+",
        "\\s+\\z",
        _EAST_ASIAN,
        f"{_N}+",
    ),
    **_named("poro-chat bloom gpt3-finnish", _SENTENCES),
    **_named("viking", _SENTENCES, _N),
}


def find_pre_tokenizer(name: str) -> PreTokenizer:
    """The rule that a value of `tokenizer.ggml.pre` names; raises KCircuitsError if it is unknown."""
    if name not in PRE_TOKENIZERS:
        raise KCircuitsError(
            f"the file's tokenizer needs the unknown rule {quote(name)} (tokenizer.ggml.pre); "
            "give prompts as token ids"
        )
    return PRE_TOKENIZERS[name]
