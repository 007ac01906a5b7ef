"""A user's mistake is one line on stderr and exit code 2."""

from __future__ import annotations

import errno

import pytest

from deepcompress.errors import UserError, one_line, one_line_errors


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("params.yaml: x is\nwrong"), "error: params.yaml: x is wrong\n"),
        (OSError(errno.ENOSPC, "No space left on device", "m.bin"), "error: m.bin: No space left on device\n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @one_line_errors
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == line


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    @one_line_errors
    def main() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        main()


def test_a_message_cannot_steer_the_terminal() -> None:
    assert one_line("a\n\tb \x1b[2Jc\u202e é") == "a b \\x1b[2Jc\\u202e é"
