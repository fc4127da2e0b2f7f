"""`workerpool dead`: look at dead letters, put them back, or drop them."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from workerpool_cli import arguments, letters
from workerpool_cli.batches import batched
from workerpool_cli.errors import CliError, Exit, UsageError
from workerpool_cli.model import Letter
from workerpool_cli.queues import SCRIPT_BATCH, Queue
from workerpool_cli.selection import Selection
from workerpool_cli.session import World, opened
from workerpool_cli.words import count, duration

LISTED = 50

DESCRIPTION = """\
A job that cannot succeed is buried: kept in Redis with its reason, where it stops nothing."""

SELECTING = """\
Dead letters are chosen by ID (theirs, or the job's as the workers' logs have it) and by
filters; all that is given must hold. --match is a shell pattern for the whole job as it was
pushed, so put * around what you look for: --match '*2026/05/*'."""

LIST = f"""\
List dead letters, the newest first: the {LISTED} newest ones unless --limit says otherwise.

{SELECTING}"""

REQUEUE = f"""\
Put dead letters back to the tail of their list, byte for byte as they were pushed; attempts and
crashes are counted from zero again.

Each one moves in a single step: whenever this is interrupted, a job is either still a dead letter
or back in the list, never both and never lost. Run it again to go on.

{SELECTING}"""

DROP = f"""\
Forget dead letters for good. Asks first; where nobody can be asked, --yes is needed.

{SELECTING}"""

EXAMPLES = f"""\
examples:
  workerpool dead list --pool images -n shop
  workerpool dead show 5f0c9a2e11d04b7c-17
  workerpool dead requeue --reason Timeout --since 2h --dry-run
  workerpool dead requeue --all --limit 10         a few first, to see whether it helps
  workerpool dead drop --match '*"tmp/*' --yes

{arguments.EXIT_CODES}"""


def add(commands: arguments.Subparsers) -> None:
    """Describe the command lines."""
    parser = commands.add_parser(
        "dead",
        help="look at dead letters, put them back, drop them",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, words: str, text: str, run: Callable[..., Exit]) -> arguments.Parser:
        made: arguments.Parser = verbs.add_parser(
            name, help=words, description=text, epilog=EXAMPLES
        )
        made.set_defaults(run=run)
        made.add_argument("ids", nargs="+" if name == "show" else "*", metavar="ID")
        if name != "show":
            _add_filters(made)
        if name in {"list", "show"}:
            made.add_argument("-o", "--output", choices=("table", "json"), default="table")
        else:
            made.add_argument("--all", action="store_true", help="every dead letter")
            made.add_argument(
                "--dry-run", action="store_true", help="say which it would be, and do nothing"
            )
        if name == "drop":
            made.add_argument("-y", "--yes", action="store_true", help="do not ask")
        arguments.add_queue(made, pool_is_positional=False)
        return made

    verb("list", "list them", LIST, list_letters)
    verb("show", "show all that is known of some", "Show dead letters in full.", show)
    verb("requeue", "put them back to the tail of the list", REQUEUE, requeue)
    verb("drop", "forget them for good", DROP, drop)


def list_letters(options: argparse.Namespace, world: World) -> Exit:
    """List what was buried."""
    selection = _selection(options)
    if selection.limit is None:
        selection = replace(selection, limit=LISTED)
    with opened(options, world) as session:
        queue = session.queue
        queue.check()
        now = queue.now_ms()
        found = list(selection.of(queue.letters(selection.since, now)))
        total = queue.snapshot().dead
    if options.output == "json":
        world.console.say(json.dumps([letters.document(letter) for letter in found], indent=2))
        return Exit.OK
    _say_table(found, now, world)
    if len(found) < total:
        why = "--limit" if len(found) == selection.limit else "the others do not match"
        world.console.note(f"{len(found):,} of {count(total, 'dead letter')} shown ({why})")
    elif not total:
        world.console.note("no dead letters")
    return Exit.OK


def show(options: argparse.Namespace, world: World) -> Exit:
    """Show some of them in full."""
    selection = Selection(ids=frozenset(options.ids))
    with opened(options, world) as session:
        session.queue.check()
        found = list(selection.of(session.queue.letters()))
        now = session.queue.now_ms()
    if options.output == "json":
        world.console.say(json.dumps([letters.document(letter) for letter in found], indent=2))
    else:
        for letter in found:
            for line in letters.full(letter, now):
                world.console.say(line)
    _refuse_unknown(selection, found)
    return Exit.OK


def requeue(options: argparse.Namespace, world: World) -> Exit:
    """Put them back, the oldest first."""
    return _act(options, world, Queue.requeue, "requeued", ask=False)


def drop(options: argparse.Namespace, world: World) -> Exit:
    """Forget them."""
    if not (options.yes or options.dry_run or world.can_ask):
        raise UsageError("nobody can be asked here: add --yes to drop them, or --dry-run to look")
    return _act(options, world, Queue.drop, "dropped", ask=not options.yes)


def _act(
    options: argparse.Namespace,
    world: World,
    act: Callable[[Queue, list[str]], list[str]],
    done: str,
    *,
    ask: bool,
) -> Exit:
    """Choose first, then act in batches: what dies meanwhile is not touched."""
    selection = _selection(options)
    if selection.is_everything and not options.all:
        raise UsageError("which ones? Name IDs or a filter (--reason, --since, --match), or --all")
    if options.all and not selection.is_everything:
        raise UsageError("--all and a filter contradict each other: leave one of them out")
    with opened(options, world) as session:
        queue = session.queue
        queue.check()
        now = queue.now_ms()
        meant = selection.of(queue.letters(selection.since, now))
        if options.dry_run:
            chosen = list(meant)
            _say_table(chosen, now, world)
            world.console.say(f"{count(len(chosen), 'dead letter')} would be {done}")
            _refuse_unknown(selection, chosen)
            return Exit.OK
        found, ids = _found(meant, selection)
        if (
            ask
            and ids
            and not world.confirms(f"Forget {count(len(ids), 'dead letter')} for good?")
        ):
            world.console.note("nothing was done")
            return Exit.OK
        answers = _carried_out(ids, queue, act, done, world)
    return _told(answers, done, sorted(selection.ids - found), world)


def _found(meant: Iterable[Letter], selection: Selection) -> tuple[set[str], list[str]]:
    """Return which of the asked ids were found, and the letters' own ids, the oldest first."""
    found: set[str] = set()
    ids: list[str] = []
    for letter in meant:
        found |= letter.names & selection.ids
        ids.append(letter.id)
    return found, ids[::-1]


def _carried_out(
    ids: list[str],
    queue: Queue,
    act: Callable[[Queue, list[str]], list[str]],
    done: str,
    world: World,
) -> Counter[str]:
    answers: Counter[str] = Counter()
    try:
        for batch in batched(ids, SCRIPT_BATCH):
            answers.update(act(queue, list(batch)))
            world.console.progress(
                f"{answers.total():,} of {len(ids):,}", answers.total(), len(ids)
            )
    except BaseException:
        world.console.note(f"{answers[done]:,} of {len(ids):,} {done} before it stopped")
        raise
    return answers


def _told(answers: Counter[str], done: str, unknown: list[str], world: World) -> Exit:
    world.console.say(f"{count(answers[done], 'dead letter')} {done}")
    if answers["gone"]:
        world.console.note(f"{answers['gone']:,} were gone already: somebody else was faster")
    if answers["unreadable"]:
        world.console.note(
            f"{answers['unreadable']:,} cannot be read and stay where they are: "
            "`workerpool dead list --reason Unreadable`, and drop them"
        )
    if unknown:
        raise _unknown(unknown)
    return Exit.FAILED if answers["unreadable"] else Exit.OK


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters")
    group.add_argument(
        "--reason", action="append", default=[], metavar="WORD", help="buried for this; repeatable"
    )
    group.add_argument(
        "--since",
        type=arguments.parsed(duration),
        metavar="TIME",
        help="buried within the last TIME, like 45s, 2h or 7d",
    )
    group.add_argument("--match", metavar="GLOB", help="the job as it was pushed looks like this")
    group.add_argument(
        "--limit",
        type=arguments.parsed(arguments.positive),
        metavar="N",
        help="no more than N, the newest ones",
    )


def _selection(options: argparse.Namespace) -> Selection:
    return Selection(
        ids=frozenset(options.ids),
        reasons=frozenset(options.reason),
        since=options.since,
        match=options.match,
        limit=options.limit,
    )


def _say_table(shown: list[Letter], now_ms: int, world: World) -> None:
    for line in letters.rows(shown, now_ms):
        world.console.say(line[: world.console.width])


def _refuse_unknown(selection: Selection, found: list[Letter]) -> None:
    unknown = selection.ids.difference(*(letter.names for letter in found))
    if unknown:
        raise _unknown(sorted(unknown))


def _unknown(ids: list[str]) -> CliError:
    return CliError(
        f"no dead letter is called {', '.join(ids)}; `workerpool dead list` shows which there are"
    )
