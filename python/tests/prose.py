"""Prose check of `make lint`: terms of docs and first lines, line length and links of docs, a comment for every macro.

`python python/tests/prose.py` prints one line per finding and exits with 1 if there is any. Code in backticks and code
blocks is not prose.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
MAX_LINE, MAX_WORDS = 120, 25
# {pattern of our own old words: the field's term}; docs/glossary.md defines the terms that stay.
TERMS = {
    r"set aside|sets aside": "rejected; quarantine",
    r"judg(e|es|ed|ing)": "validate (rows), evaluate (models)",
    r"told|tells?|telling": "predicted, published, assigned",
    r"said|says": "predicts; states",
    r"heard|remembers?|stranger(s)?|whoever": "no personification",
    r"believ(e|es|ed)|beliefs?": "posterior",
    r"anew": "again; rebuilt, retrained, backfilled",
    r"fold|folds|folded|folding": "recursive update (cross-validation: fold as in five-fold)",
    r"restat(e|es|ed|ing)": "backfill, reprocess",
    r"fingerprints?": "content hash, input hash",
    r"month.ledgers?": "month calendar",
    r"frozen|retired": "archived, past retention",
    r"forget|forgets|forgetting|forgotten|leavers": "erase, erasure",
    r"withdrawn": "revoked",
    r"hardened": "sandboxed",
    r"memory-less": "stateless baseline",
    r"attainable": "upper bound (oracle)",
    r"halfway": "midpoint",
    r"learnt|learn(s|ed)? (from|of)": "trained on",
    r"quiet months?": "inactive month",
    r"feature famil(y|ies)": "feature group",
    r"outgr(own|ew|ow)": "aged out",
    r"calm|small cells?": "ok (level); suppressed counts",
    r"speaks? (for|against)": "attribution",
    r"repetitions?|clean rows?": "duplicate; valid row",
    r"what was known before": "prior",
}
EVIDENCE = {"docs/method.md": 1}  # the word once, where the term is introduced; elsewhere: log-likelihood
OPENINGS = ("What", "Which", "Whoever", "Whose", "Whether", "Of", "How")
SENTENCE = re.compile(rf"(?:^|(?<=[.!?:] )|(?<=\| )|(?<=[-#] ))(?:{'|'.join(OPENINGS)})\b")
WRITTEN_BY_TOOLS = {"docs/errors.md"}  # quotes messages of the code


def without_blocks(markdown: str) -> str:
    """A page with its code blocks blanked; line numbers stay."""
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), markdown, flags=re.M | re.S)


def prose_of(markdown: str) -> list[str]:
    """The lines of a page with code, link targets and formulas blanked."""
    return [re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>", " ", line) for line in without_blocks(markdown).split("\n")]


def first_sentence(path: Path) -> str:
    """The first sentence of a file's first comment or docstring."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py" and not text.startswith("#"):
        found = re.match(r'(?s)"""(.+?)(?:\n\n|""")', text)
    elif path.suffix == ".py":
        found = re.match(r"((?:# .*\n)+)", text)
    else:
        found = re.match(r"(?s)(?:\{#-?|--)(.*?)(?:#\}|\n(?!--)|\n\n)", text)
    comment = " ".join((found[1] if found else "").replace("--", " ").replace("\n#", " ").replace("#", " ").split())
    return re.sub(r"`[^`]*`", " ", re.split(r"(?<=[.:]) ", comment)[0])


def findings_in(line: str) -> Iterator[str]:
    """The old terms and openings of one line of prose."""
    for pattern, term in TERMS.items():
        for match in re.finditer(rf"(?<![\w-])(?:{pattern})(?![\w-])", line, flags=re.I):
            yield f"'{match[0]}': {term}"
    for match in SENTENCE.finditer(line):
        yield f"a sentence begins with '{match[0]}'"


def check_page(path: Path) -> Iterator[tuple[int, str]]:
    """Findings of one page of docs."""
    name, text = str(path.relative_to(PROJECT)), path.read_text(encoding="utf-8")
    n_evidence = 0
    for number, line in enumerate(prose_of(text), start=1):
        if name not in WRITTEN_BY_TOOLS:
            yield from ((number, finding) for finding in findings_in(line))
        n_evidence += len(re.findall(r"\bevidence\b", line, flags=re.I)) * (line != "## Evidence")
        if n_evidence > EVIDENCE.get(name, 0) and re.search(r"\bevidence\b", line, flags=re.I):
            yield number, "'evidence': log-likelihood"
    for number, line in enumerate(without_blocks(text).split("\n"), start=1):
        if len(line) > MAX_LINE and not line.startswith("|"):
            yield number, f"{len(line)} characters, at most {MAX_LINE}"
        for target in re.findall(r"\]\(([^)#\s]+)", line):
            if not target.startswith("http") and not (path.parent / target).exists():
                yield number, f"link to {target}, which does not exist"


def check_file(path: Path) -> Iterator[tuple[int, str]]:
    """Findings of the first line of one file of code."""
    sentence = first_sentence(path)
    if not sentence:
        yield 1, "no comment or docstring in the first line"
    yield from ((1, finding) for finding in findings_in(sentence))
    if len(sentence.split()) > MAX_WORDS:
        yield 1, f"first sentence of {len(sentence.split())} words, at most {MAX_WORDS}"
    if path.parent.name == "macros":
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"\{%-? (macro|materialization) (\w+)[^%]*%\}\s*(\{#)?", text):
            if not match[3] and not match[2].startswith("spark__"):
                yield text[: match.start()].count("\n") + 1, f"{match[1]} {match[2]} has no comment"


def findings() -> Iterator[str]:
    """All findings as `file:line: finding`."""
    pages = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")]
    folders = ("models", "macros", "tests", "python", "bench", "notebooks")
    files = [path for folder in folders for kind in ("sql", "py") for path in (PROJECT / folder).rglob(f"*.{kind}")]
    files = [path for path in files if not path.is_relative_to(PROJECT / "bench" / "work")]  # made by make bench
    for check, paths in ((check_page, pages), (check_file, files)):
        for path in sorted(paths):
            for number, finding in check(path):
                yield f"{path.relative_to(PROJECT)}:{number}: {finding}"


if __name__ == "__main__":
    found = list(findings())
    print("\n".join(found) or "prose: no findings")
    sys.exit(bool(found))
