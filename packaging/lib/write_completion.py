"""Write completion for bash, zsh and fish into a folder, from the program's own command line.

    python3 packaging/lib/write_completion.py build/completion

Makes fwbouncer.bash, _fwbouncer and fwbouncer.fish. Only the standard library is needed.
"""

# ruff: noqa: INP001 - a script of its own
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import command_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from command_line import CommandLine, Option

_HEAD = "# fwbouncer's completion for {}. Written by packaging/lib/write_completion.py."
_SPANS = ("30m", "1h", "1d", "7d")


def words_for(option: Option) -> tuple[str, ...]:
    """Return the values that an option may have, or some that it often has."""
    return option.choices or (_SPANS if option.value == "TIME" else ())


def everything(line: CommandLine) -> Iterator[Option]:
    """Yield every option with a name."""
    for options in (line.common, line.alone, *(command.options for command in line.commands)):
        yield from (option for option in options if option.names)


def names(options: Iterable[Option]) -> list[str]:
    """Return what is offered of options: all their names, but for Go's long ones with one dash."""
    return [n for option in options for n in option.names if n.startswith("--") or len(n) == 2]


# --- bash ------------------------------------------------------------------------------------------------------------


def bash(line: CommandLine) -> Iterator[str]:
    """Write the function that bash calls, and tell bash of it."""
    valued = sorted({name for option in everything(line) if option.value for name in option.names})
    files = sorted({name for option in everything(line) if option.file for name in option.names})
    yield _HEAD.format("bash")
    yield "_fwbouncer() {"
    yield "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i"
    yield "    COMPREPLY=()"
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield "        case ${COMP_WORDS[i]} in"
    yield f"            {' | '.join(valued)}) ((i++)) ;;"
    yield "            -*) ;;"
    yield "            *) command=${COMP_WORDS[i]} && break ;;"
    yield "        esac"
    yield "    done"
    yield "    case $prev in"
    yield f"        {' | '.join(files)})"
    yield "            compopt -o filenames 2>/dev/null"
    yield '            mapfile -t COMPREPLY < <(compgen -f -- "$cur")'
    yield "            return"
    yield "            ;;"
    for option in everything(line):
        if words := words_for(option):
            yield f"        {' | '.join(option.names)})"
            yield f"            mapfile -t COMPREPLY < <(compgen -W '{' '.join(words)}' -- \"$cur\")"
            yield "            return"
            yield "            ;;"
    plain = [name for name in valued if name not in files and not _has_words(line, name)]
    if plain:
        yield f"        {' | '.join(plain)}) return ;;"
    yield "    esac"
    yield "    case $command in"
    alone = [command.name for command in line.commands] + names((*line.common, *line.alone))
    yield f"        '') words='{' '.join(alone)}' ;;"
    for command in line.commands:
        yield f"        {command.name}) words='{' '.join(names((*command.options, *line.common)))}' ;;"
    yield "    esac"
    yield '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")'
    yield "}"
    yield "complete -F _fwbouncer fwbouncer"


def _has_words(line: CommandLine, name: str) -> bool:
    return any(words_for(option) for option in everything(line) if name in option.names)


# --- zsh -------------------------------------------------------------------------------------------------------------


def zsh(line: CommandLine) -> Iterator[str]:
    """Write the function that zsh loads."""
    yield "#compdef fwbouncer"
    yield _HEAD.format("zsh")
    yield "_fwbouncer() {"
    yield "    local curcontext=$curcontext state"
    yield "    local -a commands"
    yield "    commands=("
    for command in line.commands:
        yield f"        {_zsh_quoted(command.name + ':' + command.text)}"
    yield "    )"
    yield "    _arguments -C \\"
    for option in (*line.common, *line.alone):
        yield f"        {_zsh_option(option)} \\"
    yield "        '1:command:->command' '*::argument:->arguments'"
    yield "    case $state in"
    yield "        command) _describe command commands ;;"
    yield "        arguments)"
    yield "            case ${words[1]} in"
    for command in line.commands:
        specs = [_zsh_option(o) for o in (*command.options, *line.common)]
        yield f"                {command.name})"
        yield "                    _arguments \\"
        yield " \\\n".join(f"                        {spec}" for spec in specs)
        yield "                    ;;"
    yield "            esac"
    yield "            ;;"
    yield "    esac"
    yield "}"
    yield '_fwbouncer "$@"'


def _zsh_option(option: Option) -> str:
    if not option.names:
        return _zsh_quoted(f"::{option.value}: ")
    shown = [name for name in option.names if name.startswith("--") or len(name) == 2]
    text = option.text.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = ""
    if option.value:
        words = f"({' '.join(words_for(option))})" if words_for(option) else " "
        value = f":{option.value}:{'_files' if option.file else words}"
    specs = [_zsh_quoted(f"({' '.join(shown)}){name}[{text}]{value}") for name in shown]
    return " ".join(specs)


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish ------------------------------------------------------------------------------------------------------------


def fish(line: CommandLine) -> Iterator[str]:
    """Write a line for each thing that fish may offer."""
    yield _HEAD.format("fish")
    yield "complete -c fwbouncer -f"
    nothing = "-n __fish_use_subcommand"
    for command in line.commands:
        yield f"complete -c fwbouncer {nothing} -a {command.name} -d {_fish_quoted(command.text)}"
    for option in line.common:
        yield f"complete -c fwbouncer {_fish_option(option)}"
    for option in line.alone:
        yield f"complete -c fwbouncer {nothing} {_fish_option(option)}"
    for command in line.commands:
        for option in command.options:
            if option.names:
                inside = f"-n '__fish_seen_subcommand_from {command.name}'"
                yield f"complete -c fwbouncer {inside} {_fish_option(option)}"


def _fish_option(option: Option) -> str:
    parts = []
    for name in option.names:
        if name.startswith("--"):
            parts.append(f"-l {name[2:]}")
        elif len(name) == 2:
            parts.append(f"-s {name[1:]}")
    if option.file:
        parts.append("-r -F")
    elif option.value:
        words = words_for(option)
        parts.append(f"-x -a {_fish_quoted(' '.join(words))}" if words else "-x")
    return f"{' '.join(parts)} -d {_fish_quoted(option.text)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main() -> int:
    """Write all three."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    line = command_line.read()
    for name, lines in (("fwbouncer.bash", bash), ("_fwbouncer", zsh), ("fwbouncer.fish", fish)):
        (folder / name).write_text("\n".join([*lines(line), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
