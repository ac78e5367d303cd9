"""Generator of docs/errors.md: one row per error code, with the messages and remedies of the code.

python python/tests/errors_page.py
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dbt_common.clients.jinja import get_environment
from jinja2 import nodes

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "errors.md"
FOLDERS = ("macros", "models", "python/life_stage", "python/life_stage_checkout", "python/life_stage_demo")
CODE = re.compile(r"LS-[A-Z]+-[0-9]{3}")
MESSAGE = re.compile(rf"'?({CODE.pattern}) (.*)", flags=re.S)
CHECKS = PROJECT / "python/life_stage/commands/doctor.py"  # prints code and remedy; the message is that of the run
TEXTS = ast.Constant | ast.JoinedStr  # constants whose text stands in messages
NOTICES = re.compile(r"log_progress|.*warn")  # functions that log a message
UNCHANGED = re.compile(r"[;:] (nothing|no month) was (changed|written)$")  # true of every error
HEAD = """\
# Error codes

Error codes of the job, the command-line tools and the recommender, collected from the code by `make errors`. An error
ends the program with a nonzero exit code and leaves all tables and published marts unchanged, unless its row states
otherwise; a notice is only logged. Placeholders such as `<name>` vary.

| code | message | remedy |
|---|---|---|
"""


class Raised(NamedTuple):
    """A place in the code that raises or logs an error code."""

    code: str
    message: str
    remedy: str
    level: str


def placeholder(name: str) -> str:
    """The placeholder of a variable part of a message."""
    return f"`<{name}>`"


def texts_of(text: str) -> tuple[str, str]:
    """Message and remedy of a text, divided by its first colon. A cause, `error`, belongs to the message."""
    message, _, remedy = UNCHANGED.sub("", " ".join(text.split())).partition(": ")
    if found := re.match(rf"{placeholder('error')}(?:[:;] |$)", remedy):
        return f"{message}: {placeholder('error')}", remedy[found.end() :]
    return message, remedy


def in_jinja(node: nodes.Node) -> str:
    """The text of a Jinja expression, with placeholders for all that is not a literal."""
    match node:
        case nodes.Const():
            return str(node.value)
        case nodes.TemplateData():
            return node.data
        case nodes.Concat() | nodes.Output():
            return "".join(map(in_jinja, node.nodes))
        case nodes.CondExpr():
            return f"{in_jinja(node.expr1)}, or {in_jinja(node.expr2)}"
        case nodes.Name():
            return placeholder(node.name)
        case nodes.Getattr():
            return placeholder(node.attr)
        case nodes.Getitem(arg=nodes.Const()) if isinstance(node.arg.value, str):
            return placeholder(node.arg.value)
        case nodes.Call(node=nodes.Name(name="sentence")):
            return placeholder("message")  # found by its call
        case nodes.Call(args=[nodes.Const(), *_]):
            return placeholder(str(node.args[0].value))
        case nodes.Call(node=nodes.Getattr()):
            return in_jinja(node.node.node)
        case nodes.Call(node=nodes.Name()):
            return placeholder(node.node.name)
        case nodes.List():
            return placeholder("number")
    child = next(node.iter_child_nodes(), None)
    return placeholder("value") if child is None else in_jinja(child)


def of_macros(text: str) -> Iterator[Raised]:
    """Errors in a file of Jinja: calls with code, message and remedy, or with all three in one text."""
    tree = get_environment(None, capture_macros=True).parse(text)
    for call in tree.find_all(nodes.Call):
        level = "notice" if isinstance(call.node, nodes.Name) and call.node.name == "log" else "error"
        first = re.sub(r"(?<!`)<(\w+)>", placeholder(r"\1"), in_jinja(call.args[0])) if call.args else ""
        if CODE.fullmatch(first):
            message, remedy = map(in_jinja, call.args[1:3])
            yield Raised(first, message, remedy, level)
        elif found := MESSAGE.fullmatch(first):
            yield Raised(found[1], *texts_of(found[2].removesuffix("'")), level)
    for output in tree.find_all(nodes.Output):
        if found := MESSAGE.search(re.sub(r"',\s+(`<\w+>`), '", r"\1", in_jinja(output))):
            yield Raised(found[1], *texts_of(found[2].split("'\n")[0]), "error")


def in_python(node: ast.AST, constants: dict[str, ast.expr]) -> str:
    """The text of a Python expression, with placeholders for all that is neither a literal nor a constant."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(in_python(value, constants) for value in node.values)
        case ast.FormattedValue():
            return in_python(node.value, constants)
        case ast.Name() if isinstance(constants.get(node.id), TEXTS):
            return in_python(constants[node.id], constants)
        case ast.Name():
            return placeholder(node.id)
        case ast.Dict():
            return ", or ".join(in_python(value, constants) for value in node.values)
        case ast.Attribute() if node.attr != "__name__":
            return placeholder(node.attr)
        case ast.Call(func=ast.Name(id="len")):
            return placeholder("number")
        case ast.Call(func=ast.Attribute(value=ast.Constant()) | ast.Name(), args=[_, *_]):
            return in_python(node.args[0], constants)
        case ast.Call(func=ast.Attribute()):
            return in_python(node.func.value, constants)
        case ast.BoolOp():
            return " or ".join(in_python(value, constants) for value in node.values)
    child = next(ast.iter_child_nodes(node), None)
    return placeholder("value") if child is None else in_python(child, constants)


def of_python(text: str) -> Iterator[Raised]:
    """Errors in a Python file: texts that begin with a code."""
    tree = ast.parse(text)
    named = (node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name))
    constants = {node.targets[0].id: node.value for node in named}
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant | ast.JoinedStr) or isinstance(parents[node], ast.JoinedStr):
            continue
        if found := MESSAGE.fullmatch(in_python(node, constants)):
            yield Raised(found[1], *texts_of(found[2]), level_of(node, parents))


def level_of(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    """Whether a text ends the program or is only logged."""
    while not isinstance(node, ast.stmt):
        if isinstance(node, ast.Call) and NOTICES.match(ast.unparse(node.func)):
            return "notice"
        node = parents[node]
    return "error"


def raised() -> list[Raised]:
    """Every error of the code, by code; files stay in order."""
    found = []
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*")):
            if path.suffix in (".sql", ".py") and path != CHECKS:
                text = path.read_text(encoding="utf-8")
                if CODE.search(text):
                    found += (of_python if path.suffix == ".py" else of_macros)(text)
    return sorted(found, key=lambda one: one.code)


def page() -> str:
    """The document."""
    found, lines = raised(), []
    for code in dict.fromkeys(one.code for one in found):
        of_code = [one for one in found if one.code == code]
        columns = [code + " (notice)" * (of_code[0].level == "notice")]
        columns += [once(getattr(one, text) for one in of_code) for text in ("message", "remedy")]
        lines.append(f"| {' | '.join(columns)} |\n")
    return HEAD + "".join(lines)


def once(texts: Iterable[str]) -> str:
    """Each text once, a line each."""
    return "<br>".join(dict.fromkeys(text.replace("|", "\\|") for text in texts if text))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
