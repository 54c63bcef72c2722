"""Writes man/*.1 and *.8 from the commands and from man/sections/*.txt; knows roff, and no command's work.

What a command says about itself is asked of the command: its usage, help and options, and the parts of
its epilog that have a heading (`Exit status:`, `Examples:`). What it can't know (signals, overhead, limits,
files) stands in `sections/COMMAND.txt`:

    OVERHEAD                a heading: capitals at the line's beginning
    A paragraph.            its lines are joined; `...` is bold, *...* is italic
    `0` :: done             an item: a term, and what it means; may go on in lines indented by four
        $ linnix-rec ...    lines indented by four stand as they are

No dates: the same commands make the same pages. `--check` writes nothing and fails unless in step.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from linnix_rec import __version__
from linnix_rec.cli import PROGRAM, main
from linnix_rec.cli.options import common_options

MAN = Path(__file__).resolve().parent
COMMANDS = (
    *("record", "show", "verify", "replay", "reconcile"),
    *("arm", "armed", "dump", "import", "disarm"),
    *("doctor", "bench"),
)

_MANUALS = {1: "User Commands", 8: "System Administration"}

_HEADING = re.compile(r"[A-Z][A-Z ]+")
_ITEM = re.compile(r"(.+?) :: (.+)")
_EPILOG_HEADING = re.compile(r"(?:The )?(\w[\w ]*?)(?: \((.+)\))?:")
_INLINE = re.compile(r"`([^`]+)`|\*([^*\s][^*]*)\*")


def pages() -> dict[str, str]:
    """The text of every page, by its file's name."""
    root = click.Context(main, info_name=PROGRAM, **main.context_settings)
    written = {f"{PROGRAM}.1": _root_page(root)}
    for name in COMMANDS:
        command = main.get_command(root, name)
        assert command is not None, name
        written[f"{PROGRAM}-{name}.1"] = _command_page(command, click.Context(command, root, name))
    written[f"{PROGRAM}.service.8"] = _service_page()
    return written


def _root_page(root: click.Context) -> str:
    commands = ((name, main.get_command(root, name)) for name in main.list_commands(root))
    items = [(_bold(name), _inline(_summary(command))) for name, command in commands if command]
    return _page(
        PROGRAM,
        "a flight recorder for Linux processes",
        [_bold(PROGRAM) + " [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR...]"],
        [*_description(main), ".SH COMMANDS", *_items(items), *_options(root)],
        "root",
    )


def _command_page(command: click.Command, context: click.Context) -> str:
    pieces = (_inline(piece) for piece in command.collect_usage_pieces(context))
    return _page(
        f"{PROGRAM}-{context.info_name}",
        _summary(command).rstrip("."),
        [" ".join((_bold(f"{PROGRAM} {context.info_name}"), *pieces))],
        [*_description(command), *_subcommands(command, context), *_options(context), *_epilog(command)],
        str(context.info_name),
    )


def _subcommands(group: click.Command, context: click.Context) -> Iterator[str]:
    """A group's commands: what each is and takes, and then what all of them take."""
    if not isinstance(group, click.Group):
        return
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    contexts = [click.Context(command, context, command.name) for command in commands if command]
    options = [_own_options(each) for each in contexts]
    by_all = set.intersection(*({option.opts[0] for option in own} for own in options))
    yield ".SH COMMANDS"
    for each, own in zip(contexts, options, strict=True):
        command = each.command
        pieces = (_inline(piece) for piece in command.collect_usage_pieces(each) if piece != "[OPTIONS]")
        yield " ".join((".SS", f'"{_bold(str(command.name))}', *pieces)) + '"'
        for lines in _blocks(command.help or ""):
            yield from _paragraph(lines)
        yield from _option_items([option for option in own if option.opts[0] not in by_all], each)
    yield '.SS "All of them take"'
    yield from _option_items([option for option in options[0] if option.opts[0] in by_all], contexts[0])


def _service_page() -> str:
    """The page of the systemd unit, of which no command knows."""
    name = f"{PROGRAM}.service"
    return _page(name, "record every process of this host, always", [_bold(name)], [], "service", chapter=8)


def _page(
    name: str, summary: str, synopsis: list[str], body: list[str], sections: str, *, chapter: int = 1
) -> str:
    text = (MAN / "sections" / f"{sections}.txt").read_text(encoding="utf-8")
    lines = [
        '.\\" Written by man/generate.py from the command and man/sections/; change those.',
        f'.TH "{_escape(name.upper())}" {chapter} "" "{PROGRAM} {__version__}" "{_MANUALS[chapter]}"',
        ".SH NAME",
        f"{_escape(name)} \\- {_inline(summary[:1].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        *synopsis,
        *body,
        *_sections(text),
    ]
    return "\n".join(lines) + "\n"


def _summary(command: click.Command) -> str:
    return command.get_short_help_str(limit=200)


def _description(command: click.Command) -> Iterator[str]:
    """The command's help: paragraphs, and those that begin with `\\b` as they stand."""
    yield ".SH DESCRIPTION"
    for lines in _blocks(command.help or ""):
        yield from _literal(lines[1:]) if lines[0] == "\b" else _paragraph(lines)


def _epilog(command: click.Command) -> Iterator[str]:
    """The epilog: a block that begins with `\\b` and `Heading (remark):` becomes a section."""
    for lines in _blocks(command.epilog or ""):
        heading = _EPILOG_HEADING.fullmatch(lines[1]) if lines[0] == "\b" else None
        if heading is None:
            yield from _paragraph(lines)
            continue
        yield f".SH {heading[1].upper()}"
        if heading[2]:
            yield from _paragraph([_remark(heading[2])])
        yield from _literal([line[2:] for line in lines[2:] if line.startswith("  ")])
        remarks = [line for line in lines[2:] if not line.startswith("  ")]
        yield from _paragraph(remarks) if remarks else ()


def _remark(text: str) -> str:
    """What stands in parentheses after a heading: the option's value it explains, or half a sentence."""
    return f"{text[:1].upper()}{text[1:]}." if " " in text else f"What *{text}* may be:"


def _blocks(text: str) -> Iterator[list[str]]:
    """The lines of each block between empty lines, without the margin of the source text."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if block:
            yield block.strip("\n").split("\n")


def _paragraph(lines: list[str]) -> tuple[str, str]:
    return (".PP", _inline(" ".join(line.strip() for line in lines)))


def _options(context: click.Context) -> Iterator[str]:
    """The command's own options first, then those that every command takes."""
    own = _own_options(context)
    yield ".SH OPTIONS"
    yield from _option_items([*own, *(option for option in _shown(context) if option not in own)], context)


def _shown(context: click.Context) -> list[click.Option]:
    options = (each for each in context.command.get_params(context) if isinstance(each, click.Option))
    return [option for option in options if not option.hidden]


def _own_options(context: click.Context) -> list[click.Option]:
    common = {option.opts[0] for option in common_options()}
    return [each for each in _shown(context) if each.opts[0] not in common and "--help" not in each.opts]


def _option_items(options: list[click.Option], context: click.Context) -> Iterator[str]:
    for option in options:
        # Older clicks give the names of --help in the order of a set.
        names = ", ".join(_bold(name) for name in sorted(option.opts, key=len))
        if option.secondary_opts:
            names += " / " + ", ".join(_bold(name) for name in option.secondary_opts)
        meaning = (option.help or "").replace("\b", "").strip() + _default(option, context)
        yield from _item(names + _metavar(option, context), _inline(meaning))


def _metavar(option: click.Option, context: click.Context) -> str:
    if option.is_flag or option.count:
        return ""
    if option.metavar is None and isinstance(option.type, click.Choice):
        return " " + "|".join(_bold(str(choice)) for choice in option.type.choices)
    return f" \\fI{_escape(option.make_metavar(context))}\\fR"


def _default(option: click.Option, context: click.Context) -> str:
    default = option.get_help_extra(context).get("default")
    return f" Default: {str(default).strip('()')}." if default is not None else ""


def _sections(text: str) -> Iterator[str]:
    """The hand-written sections as roff."""
    lines = text.rstrip("\n").split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        end = at + 1
        if not line.strip():
            pass
        elif line.startswith("    "):
            while end < len(lines) and (lines[end].startswith("    ") or _blank_inside(lines, end)):
                end += 1
            yield from _literal([literal[4:] for literal in lines[at:end]])
        elif _HEADING.fullmatch(line):
            yield f".SH {line}"
        else:
            while end < len(lines) and lines[end].strip() and _goes_on(line, lines[end]):
                end += 1
            joined = " ".join(part.strip() for part in lines[at:end])
            item = _ITEM.fullmatch(joined)
            yield from _item(_inline(item[1]), _inline(item[2])) if item else _paragraph([joined])
        at = end


def _goes_on(first: str, line: str) -> bool:
    """Whether `line` belongs to the paragraph or item that begins with `first`."""
    if line.startswith("    "):
        return bool(_ITEM.fullmatch(first))
    return not _ITEM.fullmatch(line) and not _HEADING.fullmatch(line)


def _blank_inside(lines: list[str], at: int) -> bool:
    return not lines[at].strip() and at + 1 < len(lines) and lines[at + 1].startswith("    ")


def _items(items: list[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in items:
        yield from _item(term, meaning)


def _item(term: str, meaning: str) -> tuple[str, str, str]:
    return (".TP", term, meaning)


def _literal(lines: list[str]) -> Iterator[str]:
    yield from (".PP", ".RS 4", ".EX")
    yield from (_escape(line.rstrip()) for line in lines)
    yield from (".EE", ".RE")


def _inline(text: str) -> str:
    """Roff for a line of text, with its `bold` and *italic* parts."""
    parts: list[str] = []
    at = 0
    for mark in _INLINE.finditer(text):
        parts.append(_escape(text[at : mark.start()]))
        parts.append(_bold(mark[1]) if mark[1] else f"\\fI{_escape(mark[2])}\\fR")
        at = mark.end()
    parts.append(_escape(text[at:]))
    return "".join(parts)


def _bold(text: str) -> str:
    return f"\\fB\\%{_escape(text)}\\fR"  # \% keeps names and options from being hyphenated


def _escape(text: str) -> str:
    """Roff that prints exactly `text`: hyphens that can be copied, no control line by accident."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("^", "\\(ha").replace("~", "\\(ti")
    escaped = escaped.replace("`", "\\(ga").replace("'", "\\(aq").replace('"', "\\(dq")
    escaped = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in escaped)
    return "\\&" + escaped if escaped.startswith(".") else escaped


def out_of_step() -> list[str]:
    """The pages that are missing, differ from what the commands say, or belong to no command."""
    wanted = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in MAN.glob("*.[18]")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write() -> None:
    wanted = pages()
    for path in MAN.glob("*.[18]"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (MAN / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        stale = out_of_step()
        sys.exit(f"out of step with the commands: {', '.join(stale)}; run make man" if stale else 0)
    write()
