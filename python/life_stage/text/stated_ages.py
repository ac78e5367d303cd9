"""Ages that writers state of their own child in English: my 6 month old, our daughter is two years old.

Statements about another time (was, when, until), about other people's children (my sister's, my niece) and about things
count as none. A missed statement costs a label, a false one is a wrong label, so doubtful ones are left out.
"""

import re
from typing import NamedTuple

from life_stage.text.reader import ENGLISH, AgeReader, in_digits, normalise, value_of

DAYS_OF_A_MONTH = 30.44
LONGEST = 2000  # letters of a text that are read: longer ones are essays
NUMBER = rf"(?:[0-9]{{1,2}}(?:[.][0-9]| 1/2)?|{ENGLISH})"
UNIT = r"(?:years?|yrs?|months?|mos?|weeks?|wks?)"
AGE = rf"{NUMBER}[ -]?{UNIT}"
ABBREVIATED = r"[0-9]{1,2} ?(?:y/?o|m/?o)\b"  # 2yo, 18 m/o
CHILD = r"sons?|daughters?|baby|babies|boys?|girls?|toddlers?|infants?|newborn|child|children|kids?|twins?|lo"
CHILD += r"|little (?:one|boy|girl|guy|man)"
# Words that no statement of an own child's present age has before the age.
OTHER_WORDS = r"friend|sister|brother|niece|nephew|grand\w*|great|cousin|neighbou?r|god\w*|student|husband|wife|mom"
OTHER_WORDS += r"|mother|dad|father|school|inner|dog|puppy|pup|cat|kitten|fur|is|was|were|will|be|had|has|have"
BETWEEN = rf"(?: (?!(?:{OTHER_WORDS})\b|\w+ty\b)[a-z-]{{1,15}}){{0,3}}?"
OWNER = r"(?<!when )(?<!once )(?<!until )(?<!till )(?<!if )(?<!before )(?<!after )(?<!since )\b(?:my|our)"
# After it: the end, a child, a verb or a small word; another noun is a thing or somebody else.
GOES_ON = r"and|who|that|to|for|in|on|with|at|so|but|because|while|also|really|absolutely|always|just|still|now|can"
GOES_ON += r"|could|will|the|it|this|he|she|a|is|has|had|outgrew|slept|sleeps|wore|got|did|does|seems"
NOUNS = r"shoes|jeans|glasses|headphones|speakers|tires|batteries|clothes|pants|bed|seed"
NEXT = rf"(?=[ -]*(?:$|[.,!]|(?:{CHILD}|{GOES_ON})\b|(?!(?:{NOUNS})\b)[a-z]+(?:s|ed)\b))(?! was an? (?:baby|newborn))"
END = r"(?=[ .]*$| *[.,]| (?:and|but|so|now|today|who|old)\b)"
STATEMENTS = (
    rf"{OWNER}{BETWEEN} ({AGE})[ -]?olds?\b{NEXT}",
    rf"{OWNER}{BETWEEN} ({ABBREVIATED}){NEXT}",
    rf"{OWNER}{BETWEEN} (?:{CHILD}) (?:is|just turned)(?: (?:only|just|now|about|currently)){{0,2}} ({AGE}){END}",
    rf"\b(?:i|we) have (?:a|an|two|twin)(?: [a-z-]{{1,15}})? ({AGE})[ -]?olds?\b{NEXT}",
    rf"\b(?:mom|mother|dad|father|parents?) (?:of|to) (?:a|an)(?: [a-z-]{{1,15}})? ({AGE})[ -]?olds?\b{NEXT}",
)
STATED = re.compile("|".join(STATEMENTS))
WEEKS = re.compile(rf"({NUMBER})[ -]?(?:weeks?|wks?)")
READER = AgeReader(())


class Stated(NamedTuple):
    """A stated age in months; to_month is exclusive."""

    from_month: int
    to_month: int

    @property
    def days(self) -> int:
        """The middle of the age in days."""
        return round((self.from_month + self.to_month) / 2 * DAYS_OF_A_MONTH)


def stated_ages(text: str) -> list[Stated]:
    """The ages that the text states of the writer's children, in its order, each once."""
    plain = re.sub(r"[^a-z0-9.,/' -]+", " . ", normalise(text[:LONGEST]))
    plain = re.sub(r"  +", " ", plain)
    found = [age_of(next(filter(None, match.groups()))) for match in STATED.finditer(plain)]
    return list(dict.fromkeys(filter(None, found)))


def age_of(phrase: str) -> Stated | None:
    """The age that a phrase names; None if it is none of a child."""
    phrase = phrase.replace(" 1/2", ".5")
    if weeks := WEEKS.fullmatch(phrase):
        months = int((value_of(in_digits(weeks[1])) or 0) * 7 / DAYS_OF_A_MONTH)
        return Stated(months, months + 1)
    phrase = re.sub(r"y/?o$", "years", re.sub(r"m/?o$", "months", phrase))
    ages = READER.read(re.sub(r"[ -]?(mos?|months?)$", " months", phrase))
    return Stated(*min(ages)[1:]) if len(ages) == 1 else None
