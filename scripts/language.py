"""Report phrases and names that plain technical English avoids: python scripts/language.py [--summary] [PATH ...].

The rules and their exceptions are in language.toml. Exits with 1 if there are findings.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

RULES = Path(__file__).with_suffix(".toml")
MAX_TEST_NAME_CHARS = 80
MAX_SHOWN_CHARS = 110
HASH_COMMENT_SUFFIXES = {".toml", ".yaml", ".yml", ".sh", ".cfg", ".txt"}
HASH_COMMENT_NAMES = {"Makefile", "run"}
C_SUFFIXES = {".c", ".h"}

Kind = Literal["docstring-start", "prose", "message", "local", "constant", "any", "test"]


@dataclass(frozen=True)
class Fragment:
    """A piece of a file that a rule may apply to: a paragraph, a docstring's opening, or an identifier."""

    path: str
    line: int
    kind: Kind
    text: str


@dataclass(frozen=True)
class Rule:
    """A pattern, the kinds of fragment it applies to, and what to write instead."""

    name: str
    kinds: frozenset[str]
    pattern: re.Pattern[str]
    advice: str
    whole: bool  # the pattern must match the whole fragment: identifiers

    def matches(self, fragment: Fragment) -> Iterator[str]:
        """Yield the texts of the fragment that break the rule."""
        if fragment.kind not in self.kinds:
            return
        if self.whole:
            if self.pattern.fullmatch(fragment.text):
                yield fragment.text
        elif fragment.kind == "docstring-start":
            if match := self.pattern.match(fragment.text):
                yield match.group()
        else:
            yield from (match.group() for match in self.pattern.finditer(fragment.text))


@dataclass(frozen=True)
class Finding:
    """A fragment that breaks a rule."""

    rule: str
    fragment: Fragment
    match: str
    advice: str

    def __str__(self) -> str:
        text = " ".join(self.fragment.text.split())
        start = max(0, text.lower().find(" ".join(self.match.split()).lower()) - MAX_SHOWN_CHARS // 2)
        location = f"{self.fragment.path}:{self.fragment.line}"
        return f"{location}: {self.rule} ({self.match!r}): {text[start : start + MAX_SHOWN_CHARS]}"


class PythonFile:
    """The fragments of a Python module: docstrings, comments, other texts and identifiers."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source = path, source
        self.is_test = path.startswith("tests/")

    @cached_property
    def tree(self) -> ast.Module:
        """The module's syntax tree."""
        return ast.parse(self.source)

    def fragments(self) -> Iterator[Fragment]:
        """Yield all fragments. Texts in tests are data, except their docstrings and comments."""
        docstrings = {id(docstring): docstring for docstring in self._docstrings()}
        for docstring in docstrings.values():
            yield self._fragment(docstring.lineno, "docstring-start", str(docstring.value))
            yield self._fragment(docstring.lineno, "prose", str(docstring.value))
        if not self.is_test:
            for node in ast.walk(self.tree):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and " " in node.value
                    and id(node) not in docstrings
                ):
                    yield self._fragment(node.lineno, "message", node.value)
        yield from self._comments()
        yield from self._identifiers()

    def _fragment(self, line: int, kind: Kind, text: str) -> Fragment:
        return Fragment(self.path, line, kind, text)

    def _docstrings(self) -> Iterator[ast.Constant]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
                first = node.body[0]
                if (
                    isinstance(first, ast.Expr)
                    and isinstance(first.value, ast.Constant)
                    and isinstance(first.value.value, str)
                ):
                    yield first.value

    def _comments(self) -> Iterator[Fragment]:
        tokens = tokenize.generate_tokens(io.StringIO(self.source).readline)
        comments = ((token.start[0], token.string.lstrip("#: ")) for token in tokens if token.type == tokenize.COMMENT)
        yield from (Fragment(self.path, line, "prose", text) for line, text in joined(comments))

    def _identifiers(self) -> Iterator[Fragment]:
        for node in ast.walk(self.tree):
            match node:
                case ast.ClassDef(name=name, lineno=line):
                    yield self._fragment(line, "any", name)
                case ast.FunctionDef(name=name, lineno=line) | ast.AsyncFunctionDef(name=name, lineno=line):
                    yield self._fragment(line, "test" if self.is_test and name.startswith("test_") else "any", name)
                case ast.arg(arg=name, lineno=line) | ast.Name(id=name, ctx=ast.Store(), lineno=line):
                    yield self._fragment(line, "any", name)
                    yield self._fragment(line, "constant" if name.isupper() else "local", name)


def joined(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join texts of consecutive lines, so that a phrase that is broken over two lines is found."""
    start, last, text = 0, -1, ""
    for line, part in lines:
        if line != last + 1 and text:
            yield start, text
        start, text = (line, part) if line != last + 1 else (start, f"{text} {part}")
        last = line
    if text:
        yield start, text


def markdown_fragments(path: str, source: str) -> Iterator[Fragment]:
    """Yield the paragraphs of a page, without code."""
    fenced = False
    prose: list[tuple[int, str]] = []
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and line.strip():
            prose.append((number, re.sub(r"`[^`]*`", "`code`", line.strip())))
    yield from (Fragment(path, number, "prose", text) for number, text in joined(prose))


def comment_fragments(path: str, source: str, pattern: str) -> Iterator[Fragment]:
    """Yield the comments of a file in another language. `pattern` captures a line's comment."""
    matches = ((number, re.search(pattern, line)) for number, line in enumerate(source.splitlines(), 1))
    comments = ((number, match.group(1)) for number, match in matches if match)
    yield from (Fragment(path, number, "prose", text) for number, text in joined(comments))


def fragments_of(path: str) -> Iterator[Fragment]:
    """Yield the fragments of a file, by its kind; none for a kind that holds no prose."""
    file = Path(path)
    suffix = file.suffix
    if suffix == ".py":
        yield from PythonFile(path, file.read_text("utf-8")).fragments()
    elif suffix == ".md":
        yield from markdown_fragments(path, file.read_text("utf-8"))
    elif suffix in C_SUFFIXES:
        yield from comment_fragments(path, file.read_text("utf-8"), r"(?://|/\*|^\s*\*)\s*(.*?)(?:\*/)?\s*$")
    elif suffix in HASH_COMMENT_SUFFIXES or file.name in HASH_COMMENT_NAMES:
        yield from comment_fragments(path, file.read_text("utf-8"), r"(?:^|\s)#+\s(.*)$")


def read_rules(table: dict[str, Any]) -> list[Rule]:
    """Return the rules of language.toml, and the one for lengths of test names."""
    phrases = [
        Rule(row["name"], frozenset(row["in"]), re.compile(row["pattern"], re.IGNORECASE), row["advice"], whole=False)
        for row in table["rule"]
    ]
    names = [
        Rule(row["rule"], frozenset({row["applies_to"]}), re.compile(row["pattern"]), row["advice"], whole=True)
        for row in table["name"]
    ]
    too_long = re.compile(rf"\w{{{MAX_TEST_NAME_CHARS + 1},}}")
    return [
        *phrases,
        *names,
        Rule("long-test-name", frozenset({"test"}), too_long, "at most 80 characters", whole=True),
    ]


def allowed(finding: Finding, exceptions: Iterable[dict[str, str]]) -> bool:
    """True if an exception covers the finding."""
    return any(
        finding.rule == exception["rule"]
        and fnmatch(finding.fragment.path, exception["path"])
        and exception.get("text", "") in " ".join(finding.fragment.text.split())
        for exception in exceptions
    )


def tracked_files(paths: list[str]) -> list[str]:
    """Return the files of the repository under `paths`, and new files that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return [path for path in dict.fromkeys(listing.splitlines()) if Path(path).is_file()]


def findings_in(paths: list[str]) -> list[Finding]:
    """Return all findings that no exception covers, in the order of files and lines."""
    table = tomllib.loads(RULES.read_text("utf-8"))
    rules, exceptions = read_rules(table), table.get("exception", [])
    findings = (
        Finding(rule.name, fragment, match, rule.advice)
        for path in tracked_files(paths)
        for fragment in fragments_of(path)
        for rule in rules
        for match in rule.matches(fragment)
    )
    return sorted(
        (finding for finding in findings if not allowed(finding, exceptions)),
        key=lambda finding: (finding.fragment.path, finding.fragment.line),
    )


def summary(findings: list[Finding]) -> str:
    """Return the numbers of findings by rule and by folder."""
    by_rule = Counter(finding.rule for finding in findings)
    by_folder = Counter("/".join(Path(finding.fragment.path).parts[:2]) for finding in findings)
    return "\n".join(f"{count:6} {name}" for counts in (by_rule, by_folder) for name, count in counts.most_common())


def main() -> int:
    """Print the findings or their numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["."], metavar="PATH", help="files or folders (default: all)")
    parser.add_argument("--summary", action="store_true", help="print numbers by rule and by folder only")
    arguments = parser.parse_args()
    findings = findings_in(arguments.paths)
    print(summary(findings) if arguments.summary else "\n".join(map(str, findings)))
    for advice in sorted({f"{finding.rule}: {finding.advice}" for finding in findings}):
        print(f"hint: {advice}", file=sys.stderr)
    print(f"{len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
