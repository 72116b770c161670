"""Doctor: every check says something, and what lacks is told with what to do."""

from __future__ import annotations

import pytest

from easel_api.errors import ExitCode
from easel_inference.cli import doctor
from easel_inference.cli.doctor import CHECKS, Finding, Verdict, rendered


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_answers_on_this_machine(check: object) -> None:
    finding = check()  # type: ignore[operator]  # parametrize loses the type
    assert finding.found
    assert finding.verdict is not Verdict.LACKS or finding.fix


def test_what_lacks_is_told_with_its_mend_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = Finding("tritonserver", Verdict.LACKS, "not found", "Install it")
    monkeypatch.setattr(doctor, "CHECKS", (lambda: lacking, lambda: Finding("GPU", Verdict.NOTE, "none")))
    assert doctor.doctor() is ExitCode.ENVIRONMENT
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["lacks", "tritonserver", "not", "found"]
    assert shown[1].strip() == "Install it"
    assert shown[-1] == "easel run does not work here: 1 thing(s) to mend."


def test_notes_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (lambda: Finding("GPU", Verdict.NOTE, "none"),))
    assert doctor.doctor() is ExitCode.DONE


def test_colour_is_for_terminals() -> None:
    findings = [Finding("a", Verdict.OK, "b")]
    assert "\033[32m" in next(rendered(findings, colour=True))
    assert "\033" not in "".join(rendered(findings, colour=False))


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 1))
    assert doctor.python().verdict is Verdict.LACKS
    assert doctor.libpython().fix == "apt-get install libpython3.10"
