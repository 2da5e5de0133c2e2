"""Text that tokenizers disagree about."""

from __future__ import annotations

import random

TEXTS = (
    "",
    " ",
    "The official language of France is",
    " ½ cup of the Ⅳ century, ١٩٩٠ and ४५ in ½ ² ℃ ①②㊿ x² ௧௨ 1٣2",
    "1 12 123 1234 12345 1234567 3.14159 1,000,000 a1b22c333 v2.0.1",
    "é e\u0301 Å A\u030a naïve nai\u0308ve \u0301alone ﬁ ǅ ǅungla ß ẞ ſ K İstanbul ı",
    "👩🏽\u200d🔬 👨\u200d👩\u200d👧 🇫🇷🇩🇪 ☎️ 🙂🙃 🏴\U000e0067\U000e007f",
    "你好，世界。日本語のテキスト、カタカナ！한국어 문장 「引用」",
    "ภาษาไทยกำลัง العربيّة ١٢٣ עִבְרִית हिन्दी में क्षत्रिय தமிழ்",
    "I'm you're he'll she'd we've it's don't 'S 'LL 'Re 'vE DON'T IT'S ’s ’ll '' 'x '",
    "a  b   c    d\t\te\t f \n g\n\nh\r\ni \r\n\r\n j  \n\n  k\v\f l   ",
    "   leading\n   \n\t \ttrailing   ",
    "no\u00a0break\u00a0\u00a0and\u3000ideographic\u2003em\u2028line\u0085next\u1680 \u00a0 x",
    "zero\u200bwidth\ufeffmark soft\u00adhyphen \u200e\u200f\u202e",
    "?!... --- ==> <= != && || ::: $$ ~~ ``` *** (a) [b] {c} \"d\" 'e' #f @g %h ^i _j \\k |l",
    "https://example.org/a_b?c=d&e=%20#f user@example.com C:\\dir\\file.txt",
    "def f(x):\n    return {'a': x[0] + 1}  # no\n\n\nclass A_B: pass;i++;",
    "one!\ntwo!\n\nthree!\r\nfour!\n five?\n\n six?\n }\n}\n",
    "\x00\x01\x1b[0m\x7f\x1c\x1f",
    "\u0378\U00016d40\u1c89\u0897\ue000\U000f0000\ufffd\uffff\U0010ffff",
    "CamelCaseWords ABCdef XMLHttpRequest ÉCOLEÉcole ΑΒΓαβγ snake_case ALLCAPS'll o'Neil's",
    "3rd 5% €10 £1/2 10°C π≈3 ∑x² 1–2 a—b “quoted” ‘single’ …",
)

_CHARACTERS = sorted({*"".join(TEXTS), *"0189azAZ '\n"})


def random_texts(count: int, seed: int, extra: tuple[str, ...] = ()) -> list[str]:
    """Texts of 1 to 12 draws: characters of `TEXTS`, some of them repeated, any code points, and `extra`."""
    source = random.Random(seed)

    def draw() -> str:
        kind = source.random()
        if kind < 0.05:
            code_point = source.randrange(0x110000 - 0x800)
            return chr(code_point if code_point < 0xD800 else code_point + 0x800)
        if extra and kind < 0.3:
            return source.choice(extra)
        return source.choice(_CHARACTERS) * source.choice((1, 1, 1, 1, 2, 3, 5))

    return ["".join(draw() for _ in range(source.randint(1, 12))) for _ in range(count)]
