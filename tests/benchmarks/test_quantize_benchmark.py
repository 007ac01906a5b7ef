"""The benchmark of quantization on a tiny network: every line is printed."""

from __future__ import annotations

from click.testing import CliRunner

from benchmarks.quantize import main


def test_the_command_prints_steps_and_searches() -> None:
    chosen = ["--size", "32", "--width", "0.02", "--samples", "4", "--step-width", "0.02", "--batch-size", "4"]
    result = CliRunner().invoke(main, [*chosen, "--repeats", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    for line in ("4 steps int4 over fp32", "search by output error", "packing"):
        assert line in result.output
