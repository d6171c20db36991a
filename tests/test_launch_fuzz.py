"""The command line takes anything a person may type: it is done, or refused in one line; nothing is ever created."""

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collectives.errors import UsageError
from launch.cli import cli
from launch.commands.launch import command as launch_command

OPTIONS = [option for option in launch_command.params if isinstance(option, click.Option)
           and option.name not in ("launcher", "dry_run", "python", "help")]
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.integers(-2**70, 2**70).map(str), st.floats().map(str),
    st.sampled_from(["", " ", ",", "nan", "inf", "-inf", "1e400", "0", "-1", "1K", "1Q", "9" * 400, "all", "all,all",
                     "--", "-", "../..", "=1+1", "\x1b[2J", "ü", "١٢", "1_000", "0x10", "2,4,8", "curve", "pair-0-1"]))


def attempt(words):
    """Exit status and what was said, as the command line would."""
    try:
        cli.main(words, prog_name="collbench", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code, ""
    except click.ClickException as error:
        return error.exit_code, error.format_message()
    except UsageError as error:
        return error.exit_status, str(error)
    return 0, ""


@settings(max_examples=400, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(OPTIONS), VALUES), min_size=1, max_size=4))
@example([(next(option for option in OPTIONS if option.name == "factor"), "1.0000000000000002")])
@example([(next(option for option in OPTIONS if option.name == "step"), "1")])
def test_options_with_any_value_are_taken_or_refused_in_one_line(tmp_path, monkeypatch, capsys, given_options):
    monkeypatch.chdir(tmp_path)
    words = ["launch", "--launcher", "local", "--dry-run"]
    for option, value in given_options:
        words += [option.opts[-1]] if option.is_flag else [option.opts[-1], value]
    status, said = attempt(words)
    assert status in (0, 2), (words, status, said)
    assert (status == 2) == bool(said), (words, said)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == [], words


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"])
@pytest.mark.parametrize("value", ["x", "", "1.5", "0x2", "\x1b[2J"])
def test_a_launchers_variable_that_is_none_is_named(name, value):
    from collectives.rendezvous import find_place
    environment = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "2950",
                   name: value}
    with pytest.raises(UsageError, match=name) as raised:
        find_place(environment)
    assert str(raised.value).isprintable()
