"""Reads ages (digits, numerals or words, one spelling per age) and words in a title or search term.

A phrase is a number or a range, its units and its context: 3岁, 6个月-1岁半, ages 3+, two-year-old. Words that name an
age are those of seeds/age_words.csv. An age is (age_word, from_month, to_month): to_month is exclusive, pregnancy
negative.
"""

import re
import string
from collections.abc import Iterable
from functools import lru_cache
from math import floor
from typing import NamedTuple
from unicodedata import normalize

Age = tuple[str, int, int]

MAX_MONTHS = 14 * 12  # an age past 14 years is unrelated to stages
MAX_WIDTH = 6 * 12  # months; so is a wider range
MAX_LETTERS = 40  # longer words are no words
PHRASES_KEPT = 100_000  # phrases repeat, so their ages are kept in memory

# Signs that look alike, in one spelling.
FULL_WIDTH = {chr(0xFEE0 + ord(sign)): sign for sign in string.ascii_letters + string.digits + ".+/:"}
DASHES = dict.fromkeys("－—–―‐‑−─～〜~至到", "-")
BLANKS = dict.fromkeys("\u3000\u00a0\u2009\u202f\t\r\n", " ")
TRADITIONAL, SIMPLIFIED = "歲個箇週兩嬰兒婦園產後懷媽滿齡學準備預驗", "岁个个周两婴儿妇园产后怀妈满龄学准备预验"
ONE_LETTER = {"Σ": "σ", "İ": "i"}  # str.lower() looks at the place of one and makes two letters of the other
ONE_SPELLING = FULL_WIDTH | DASHES | BLANKS | dict(zip(TRADITIONAL, SIMPLIFIED, strict=True)) | ONE_LETTER
OTHER_SPELLING = re.compile("[" + re.escape("".join(ONE_SPELLING)) + "]")
TRANSLATION = str.maketrans(ONE_SPELLING)

# Longest first, because the first alternative that matches is taken.
ENGLISH_NUMBERS = {"twenty-four": "24", "twenty four": "24", "eighteen": "18", "fifteen": "15", "twelve": "12"}
ENGLISH_NUMBERS |= {"eleven": "11", "three": "3", "seven": "7", "eight": "8", "four": "4", "five": "5", "nine": "9"}
ENGLISH_NUMBERS |= {"one": "1", "two": "2", "six": "6", "ten": "10"}
ENGLISH = "|".join(ENGLISH_NUMBERS)
NUMERALS = str.maketrans({**dict(zip("零〇一二两三四五六七八九", "001223456789", strict=True)), "半": "0.5"})
NUMERAL = "[一二两三四五六七八九]"

# Parts of a phrase. Every repetition is bounded or takes one kind of letter, so a long text takes linear time.
NUMBER = (
    rf"[0-9]{{1,3}}(?:[.][0-9]{{1,2}})?|{NUMERAL}?十{NUMERAL}?|{NUMERAL}{{1,2}}|[半零〇]"
    rf"|(?:{ENGLISH})(?:[.]5|[a-z0-9]+)?"
)
MONTHS_MORE = rf"(?:零| and | )?(?:1[01]|[1-9]|十一?|{NUMERAL}) ?(?:个月|mo[a-z]*)"  # 1岁3个月, 2 years and 6 months
UNIT = rf"个[半多]?月|月[龄大宝婴]?|m[a-z]*[23]?|(?:周?岁(?:半[袖身价裙]?)?|y[a-z]*)(?:{MONTHS_MORE})?"
DASH = "(?: {0,2}[-一/、]{1,2} {0,2}| ?to ?)"
BEFORE = "[a-z]?age[sd]?:? ?|年龄:? ?|孕[期妇]?|pregnant |(?:保质期|质保|保修)[: ]?|[a-z0-9.]"
AFTER = "[+]|以下|以内|质保|保修|联保|免息|包换|warranty|guarantee|pregnant"
RANGE = rf"(?:(?:[ -]?({UNIT}))?(?:{DASH}(?:{NUMBER})){{0,3}}{DASH}({NUMBER}))?"  # of 1-2-3岁 the ends count
PHRASE = re.compile(rf"({BEFORE})??({NUMBER}){RANGE}([+][0-9]*)?(?:[ -]?({UNIT}))?(?: ?({AFTER}))?")
HAS_NUMBER = re.compile(f"[0-9十半零〇]|{NUMERAL}|{ENGLISH}")

IN_YEARS = re.compile("岁|^(y|yo|yrs?|years?)([ 0-9].*)?$")
IN_MONTHS = re.compile("^(个.*|月.*|m|mon?|mos|mths?|mnths?|months?)$")
ENDS_IN_MONTHS = re.compile(rf"(1[01]|[1-9]|十一?|{NUMERAL}) ?(个月|mo[a-z]*)$")
WHOLE_YEARS = re.compile("^(周?岁(半[^半])?|y[a-z]*)$")  # 3岁半袖: three years, short sleeves; 3岁半: 42 months
NO_AGE_BEFORE = re.compile("[0-9.]$|^孕|^保|^质|^pregnant")  # another number, months of pregnancy, a guarantee
TWO_NUMERALS = re.compile("([一二两三四五六七八九])([一二三四五六七八九])")
ABOVE_A_YEAR = re.compile("1[3-9]|[2-9][0-9]")
YEARS_ON_LABELS, MONTHS_ON_LABELS = set("123456789"), {"6", "9", "12", "18", "24"}

NUMBER_OF_YEARS = re.compile("[0-9一二两三四五六七八九十半] {0,2}周岁")
NO_LATIN = re.compile("[^a-z0-9]+")
SIGNS = "\u3040-\u30ff\u4e00-\u9fff"  # Chinese and Japanese
LETTERS = "a-z\u00df-\u024f\u0370-\u052f\u0590-\u06ff\uac00-\ud7af"  # Latin, Greek, Cyrillic, Hebrew, Arabic, Korean
PIECE = re.compile(f"[{LETTERS}][0-9{LETTERS}]+|[0-9]{{1,9}}(?:[.][0-9]{{1,9}})?[{SIGNS}]|(?P<signs>[{SIGNS}]{{1,20}})")


def normalise(text: str) -> str:
    """The text in one spelling: case, accents, full-width and traditional signs, blanks, dashes, halves."""
    text = normalize("NFC", text)
    if OTHER_SPELLING.search(text):
        text = text.translate(TRANSLATION)
    return text.lower().replace(" and a half", ".5").replace("½", ".5")


def words_of(term: str) -> set[str]:
    """The words of a search term.

    A word is text between blanks, a pair of neighbouring Chinese or Japanese characters, or a number with the character
    after it (2段 is a formula stage).
    """
    words = set()
    for piece in PIECE.finditer(normalise(term)):
        signs = piece["signs"] or ""
        if len(signs) > 2:
            words.update(signs[n : n + 2] for n in range(len(signs) - 1))
        else:
            words.add(piece[0])
    return {word for word in words if len(word) <= MAX_LETTERS}


class Phrase(NamedTuple):
    """The parts of a phrase, in the order of the groups of PHRASE; absent ones are empty."""

    before: str
    low: str
    low_unit: str
    high: str
    plus: str
    unit: str
    after: str

    @property
    def is_up_to(self) -> bool:
        """3岁以下: everything up to the number."""
        return self.after in ("以下", "以内") and not self.high


@lru_cache(PHRASES_KEPT)
def age_of(*parts: str) -> Age | None:
    """The age that a phrase of these parts names; None: it names none, or one too wide or too old."""
    phrase = Phrase(*map(in_digits, parts))
    unit = unit_of(phrase)
    if not is_age(phrase, unit):
        return None
    low, high = ends_of(phrase)
    low_unit = phrase.low_unit or unit
    start = months_of(low, low_unit)
    end = months_of(high, unit) if high else None
    is_range = phrase.is_up_to or high != ""
    if phrase.is_up_to:
        start, end = 0, start
    elif not is_range and start is not None:
        is_whole_years = WHOLE_YEARS.search(low_unit) and not re.search("[.半]", low)
        end = start + (12 if is_whole_years else 1)
    if start is None or end is None or not start < end <= min(start + MAX_WIDTH, MAX_MONTHS):
        return None
    return age_word(start, end, is_range), start, end


def in_digits(part: str) -> str:
    """The part with English numbers in digits."""
    for word, number in ENGLISH_NUMBERS.items():
        part = part.replace(word, number)
    return part


def unit_of(phrase: Phrase) -> str:
    """The unit of the phrase. `age 3` and `3+` are years without one."""
    years_on_label = phrase.plus == "+" and not phrase.high and phrase.low in YEARS_ON_LABELS
    is_years = phrase.before.startswith(("age", "年龄")) or years_on_label
    return phrase.unit or phrase.low_unit or ("y" if is_years else "")


def is_age(phrase: Phrase, unit: str) -> bool:
    """Whether the number is an age in its context."""
    before, low, _, high, plus, _, after = phrase
    if NO_AGE_BEFORE.search(before) or after not in ("", "+", "以下", "以内") or plus not in ("", "+"):
        return False
    if re.search("[a-z]$", before) and not before.startswith("age") and not unit.startswith(tuple("个月周岁")):
        return False  # iphone 6: a number next to a letter, unless its unit is Chinese
    if unit == "月":  # 5月 is May, 18月 is an age
        return high != "" or low == "0" or ABOVE_A_YEAR.fullmatch(low) is not None
    if unit == "m":  # 3M is a brand and 2m a length: alone, m means months only on the labels that clothes shops print
        is_label = high != "" or "+" in (plus, after) or low in MONTHS_ON_LABELS
        return is_label and "." not in low + high
    return True


def ends_of(phrase: Phrase) -> tuple[str, str]:
    """The low and the high number; no high one: it is empty."""
    two = TWO_NUMERALS.fullmatch(phrase.low)  # 三四岁 names two ages without a dash
    low = two[1] if two else phrase.low
    if phrase.low_unit and not phrase.unit:
        return low, ""  # 6个月-90cm: the number behind the dash is no age
    return low, two[2] if two and not phrase.high else phrase.high


def months_of(number: str, unit: str) -> int | None:
    """The age in months; None: no number, no unit of age (ml, model), or beyond all ages."""
    factor = 12 if IN_YEARS.search(unit) else 1 if IN_MONTHS.search(unit) else None
    value = value_of(number)
    if factor is None or value is None or value > MAX_MONTHS:
        return None
    more = ENDS_IN_MONTHS.search(unit)
    return floor(value * factor + (6 if unit.endswith("半") else value_of(more[1]) if more else 0))


def value_of(number: str) -> float | None:
    """The number. 十 is a one before digits, a zero after them, both alone: 十二 = 12, 二十 = 20, 十 = 10."""
    ten = ("1" if number.startswith("十") else "") + ("0" if number.endswith("十") else "")
    try:
        return float(number.translate(NUMERALS).replace("十", ten))
    except ValueError:  # oneself
        return None


def age_word(start: int, end: int, is_range: bool) -> str:
    """The spelling of an age: 3y, 18m, 3-6y or 6-18m."""
    if is_range and start % 12 == end % 12 == 0:
        return f"{start // 12}-{end // 12}y"
    if is_range:
        return f"{start}-{end}m"
    return f"{start // 12}y" if end - start == 12 else f"{start}m"


class AgeReader:
    """Reads the ages in texts, with a dictionary of rows (word, age_word, from_month, to_month)."""

    def __init__(self, dictionary: Iterable[tuple[str, str | None, int | None, int | None]]) -> None:
        """A Latin word is looked for between blanks, so that it is found whole or not at all."""
        self.ages = {self.spelled(word): tuple(age) for word, *age in dictionary if word}
        self.inner = {word: {other for other in self.ages if other in word} - {word} for word in self.ages}
        self.by_start = {}
        for word in self.ages:
            self.by_start.setdefault(word.split()[0] if word[0] == " " else word[0], []).append(word)

    @staticmethod
    def spelled(word: str) -> str:
        """The word as it is looked for."""
        return f" {word} " if re.fullmatch("[a-z0-9 ]*", word) else word

    def read(self, text: str) -> set[Age]:
        """The ages that the text names."""
        text = normalise(text)
        found = self.word_ages(text)
        if HAS_NUMBER.search(text):
            found |= {age for parts in PHRASE.findall(text) if (age := age_of(*parts))}
        return found

    def word_ages(self, text: str) -> set[Age]:
        """Ages of dictionary words in a normalised text, without words inside a longer one that was found."""
        latin = NO_LATIN.sub(" ", text)
        starts = self.by_start.keys() & {*text, *latin.split()}
        if not starts:
            return set()
        if "周岁" in text:  # 3周岁 is a number of years, 周岁 alone the first birthday
            text = NUMBER_OF_YEARS.sub("岁", text)
        searchable = f"{text} {latin} "
        words = {word for start in starts for word in self.by_start[start] if word in searchable}
        words -= {inner for word in words for inner in self.inner[word]}
        return {self.ages[word] for word in words if self.ages[word][1] is not None}
