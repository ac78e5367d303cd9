"""Age expressions of simulated titles and searches, with their age ranges in months from birth.

Chinese and English, digits and words, single ages and ranges; some digits are full-width.
"""

from typing import NamedTuple

import numpy as np

from .ages import AGES

_FULL_WIDTH = {ord("0") + digit: 0xFF10 + digit for digit in range(10)}
_NUMERALS = "零一两三四五六"


class AgeWord(NamedTuple):
    """One expression for ages [first, last) in months; weight: relative frequency."""

    text: str
    first: int
    last: int
    weight: float = 1.0

    @property
    def is_chinese(self) -> bool:
        """True for Chinese expressions, which precede a Chinese noun."""
        return any(ord(letter) > 0x2E80 for letter in self.text)


def _months() -> list[AgeWord]:
    words = [AgeWord(f"{n}个月", n, n + 1) for n in range(1, 24)]
    words += [AgeWord(f"{n} months", n, n + 1, 0.3) for n in range(1, 24)]
    words += [AgeWord(f"{n}-month-old", n, n + 1, 0.2) for n in range(2, 19)]
    for a, b in ((0, 3), (3, 6), (0, 6), (6, 12), (6, 9), (9, 12), (12, 18), (18, 24)):
        words += [
            AgeWord(f"{a}-{b}个月", a, b, 1.5),
            AgeWord(f"{a}-{b} months", a, b, 0.5),
            AgeWord(f"{a}\uff5e{b}月", a, b, 0.3),
        ]
    return words


def _years() -> list[AgeWord]:
    words = []
    for n in range(1, 7):
        first, last = 12 * n, 12 * n + 12
        words += [
            AgeWord(f"{n}岁", first, last, 4),
            AgeWord(f"{n}-year-old", first, last, 0.8),
            AgeWord(f"{n} years", first, last, 0.5),
            AgeWord(f"{_NUMERALS[n]}岁", first, last, 0.8),
        ]
    for a, b in ((0, 1), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4), (3, 6), (4, 6), (5, 7)):
        words += [
            AgeWord(f"{a}-{b}岁", 12 * a, 12 * b, 1.5),
            AgeWord(f"{a}-{b} years", 12 * a, 12 * b, 0.4),
            AgeWord(f"{a}至{b}岁", 12 * a, 12 * b, 0.3),
        ]
    return [
        *words,
        AgeWord("半岁", 6, 7),
        AgeWord("周岁", 11, 14),
        AgeWord("一岁半", 17, 20),
        AgeWord("两岁半", 29, 32),
    ]


def _stages() -> list[AgeWord]:
    words = [
        AgeWord("孕妇", -9, 0, 8),
        AgeWord("孕早期", -9, -6, 2),
        AgeWord("孕中期", -6, -3, 2),
        AgeWord("孕晚期", -3, 0, 2),
        AgeWord("待产", -3, 0, 2),
        AgeWord("pregnant", -9, 0),
        AgeWord("maternity", -9, 0),
        AgeWord("新生儿", 0, 2, 4),
        AgeWord("初生", 0, 2),
        AgeWord("满月", 0, 2),
        AgeWord("newborn", 0, 2),
        AgeWord("toddler", 12, 36),
        AgeWord("学步", 9, 18),
        AgeWord("幼儿园", 36, 72, 3),
        AgeWord("preschool", 36, 72),
    ]
    return words + [AgeWord(f"怀孕{n}个月", n - 10, n - 9, 0.6) for n in range(2, 10)]


def _all_words() -> tuple[AgeWord, ...]:
    words = _months() + _years() + _stages()
    wide = [
        AgeWord(w.text.translate(_FULL_WIDTH), w.first, w.last, 0.12 * w.weight)
        for w in words
        if w.is_chinese and any(letter.isdigit() for letter in w.text)
    ]
    return tuple(words + wide)


AGE_WORDS = _all_words()


def word_given_age(sharpness_months: float = 1.0) -> np.ndarray:
    """p(word | age) of searches with an age word, shape (n_ages, n_words).

    Narrow ranges are preferred. Words near the age have a small probability, with the scale sharpness_months.
    """
    weights = np.empty((len(AGES), len(AGE_WORDS)))
    for column, word in enumerate(AGE_WORDS):
        outside = np.maximum(0, np.maximum(word.first - AGES, AGES - (word.last - 1)))
        scale = sharpness_months * (1 + np.maximum(AGES, 0) / 12)
        weights[:, column] = word.weight * (0.001 + np.exp(-outside / scale)) / np.sqrt(word.last - word.first)
    return weights / weights.sum(axis=1, keepdims=True)
