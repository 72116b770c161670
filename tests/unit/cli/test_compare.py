"""`easel compare` with files: the backends that a team has, and not what clouds sell to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from easel_inference.cli import main

ROOT = Path(__file__).parents[3]
CLASS, MODEL = (str(ROOT / "examples/cluster" / name) for name in ("class.yaml", "model.yaml"))
CORE, ULTRA = "stability.stable-image-core-v1:1", "stability.stable-image-ultra-v1:1"
HEADER = ["provider", "model", "price", "sizes and lengths", "heeds", "state"]
OFFERS = f"""  - {{model: {CORE}}}
  - {{model: {ULTRA}, quality: 2}}
"""
SECOND = """---
apiVersion: easel.dev/v1alpha1
kind: ModelDeployment
metadata: {name: painter}
spec: {model: {source: "pvc://weights/painter"}}
"""


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[list[str]], str]:
    """Exit code, the cells of each row, and all that was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "400")
        code = main(["compare", "--task", *arguments])
    captured = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in captured.out.splitlines()]
    return code, [row for row in rows if len(row) > 1], captured.out + captured.err


def a_file(folder: Path, offers: str = OFFERS, region: str = "us-west-2") -> str:
    """The example with other offers, and a ModelDeployment of a folder that only the engine knows."""
    text = Path(CLASS).read_text()
    assert OFFERS in text
    file = folder / "class.yaml"
    file.write_text(text.replace(OFFERS, offers).replace("region: us-west-2", f"region: {region}"))
    return str(file)


def test_the_backends_of_the_files_stand_in_the_catalogues_columns(capsys: pytest.CaptureFixture[str]) -> None:
    code, rows, _ = compared(capsys, "text-to-image", CLASS, MODEL)
    assert code == 0
    assert rows[0] == HEADER
    assert [row[:3] for row in rows[1:]] == [
        ["own", "studio-mini", "own"],
        ["bedrock-west", CORE, "$0.04 per image"],
        ["bedrock-west", ULTRA, "$0.14 per image"],
    ]
    assert rows[2][-1] == "served"
    _, catalogue, _ = compared(capsys, "text-to-image")
    assert catalogue[0] == HEADER
    assert len(catalogue) > len(rows)
    assert "studio-mini" not in {row[1] for row in catalogue}


def test_what_a_provider_says_goes_before_the_catalogue(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    offers = f"""  - {{model: {CORE}, prices: [{{amount: "0.2", per: Image}}], honours: [seed]}}
  - {{model: {ULTRA}, prices: [{{amount: "0.1", per: Image}}]}}
"""
    _, rows, _ = compared(capsys, "text-to-image", a_file(tmp_path, offers))
    assert [row[1:3] for row in rows[1:]] == [[ULTRA, "$0.10 per image"], [CORE, "$0.20 per image"]]
    assert rows[2][-2] == "seed"


def test_a_region_that_has_it_not_is_said_and_stands_last(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, rows, _ = compared(capsys, "text-to-image", a_file(tmp_path, region="eu-west-1"), MODEL)
    assert rows[1][1] == "studio-mini"
    assert rows[2][-1] == "not in eu-west-1: served in us-west-2"


def test_an_offer_that_nobody_knows_is_said_to_be_of_no_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, rows, _ = compared(capsys, "text-to-image", a_file(tmp_path, f"{OFFERS}  - {{model: stability.none}}\n"))
    assert rows[-1][:2] == ["bedrock-west", "stability.none"]
    assert rows[-1][-1].startswith("unusable: it is not in the catalogue")


RETIRED = """
apiVersion: easel.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {family: OpenAIImages, credentials: {secretRef: {name: openai}}, offers: [{model: dall-e-3}]}
"""


def test_an_offer_that_is_gone_is_said_to_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "openai.yaml"
    file.write_text(RETIRED)
    _, rows, _ = compared(capsys, "text-to-image", str(file))
    assert rows[1][:2] == ["openai", "dall-e-3"]
    assert rows[1][-1].startswith("retired ")


def test_a_model_of_which_only_its_engine_knows_may_do_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = tmp_path / "models.yaml"
    model.write_text(Path(MODEL).read_text() + SECOND)
    _, rows, said = compared(capsys, "latent-to-image", str(model))
    assert [row[:3] for row in rows[1:]] == [["own", "painter", "own"]]
    assert "its engine alone can tell whether it does latent-to-image" in said


def test_two_providers_of_one_name_are_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = Path(CLASS).read_text().partition("---")[0]
    both = tmp_path / "both.yaml"
    both.write_text("---\n".join(text.replace("bedrock-west}", f"bedrock-west, namespace: {each}}}") for each in "ab"))
    _, rows, _ = compared(capsys, "text-to-image", str(both))
    assert {row[0] for row in rows[1:]} == {"bedrock-west.a", "bedrock-west.b"}


def test_files_without_such_a_backend_are_said_to_have_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, said = compared(capsys, "interpolation", CLASS)
    assert code == 0
    assert "No backend in the files does interpolation." in said
    alone = tmp_path / "job.yaml"
    alone.write_text(Path(CLASS).read_text().rpartition("---")[2])
    code, _, said = compared(capsys, "text-to-image", str(alone))
    assert code == 2
    assert "there is no Provider and no ModelDeployment" in said
