"""The model card holds what was measured, what goes in and out, and what the model is not for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from deepcompress.data import images
from deepcompress.data.store import Meta
from deepcompress.deploy import export
from deepcompress.errors import UserError

REASON = "It is the smallest within 1 point of the baseline."
META = Meta(("ant", "bee"), 40, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), {"train": 9, "heldout": 1000}, "shapes", "sha256:0")
DESCRIPTION: dict[str, Any] = {
    "classes": ["ant", "bee"],
    "image_size": 32,
    "spec": {"arch": "vgg11"},
    "provenance": {"stage": "quantize", "seed": 3, "params": {"quantize": {"format": "int4"}}},
}
ROW = {"file": "model.onnx", "model": "quantized/ptq-int4", "kind": "int8", "n": 1000, "agreement_pct": 99.7,
       "top1_pct": 96.6, "size_bytes": 1048576}  # fmt: skip
EVALUATION = (
    "model,top1_pct,top1_pct_low,top1_pct_high,n,mcnemar_p,size_bytes\n"
    "baseline,96.9,95.6,97.8,1000,,2097152\nb,96.5,95.2,97.5,1000,0.2,524288\n"
)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.csv"
    path.write_text(EVALUATION)
    return path


def test_the_card_holds_numbers_origin_and_contract_and_the_page_says_the_same(evaluation: Path) -> None:
    card = export.card("quantized/ptq-int4", REASON, DESCRIPTION, export.measured(evaluation, "b"), META, [ROW])
    assert card["model"] == "quantized/ptq-int4"
    assert (card["metrics"]["top1_pct"], card["metrics"]["n"]) == (96.5, 1000)
    assert card["provenance"] == DESCRIPTION["provenance"]
    assert card["contract"]["images"].startswith("uint8 (n, 3, 32, 32)")
    assert "to 40 px and cut out the centre square; then resize to 32 px" in card["image_preparation"]
    assert card["data"]["source"] == "shapes"
    assert "NaN" not in json.dumps(card)
    page = export.markdown(card)
    assert page.startswith("# Model card: quantized/ptq-int4\n")
    assert "96.5 % top-1 (95.2 to 97.5, 95 % Wilson interval, n = 1000 held-out images of `shapes`)" in page
    assert "| model.onnx | quantized/ptq-int4 | int8 | 1.00 | 99.7 | 96.6 | 1000 |" in page
    assert "- Classes (2): ant, bee" in page
    assert "The checkpoint that they were made from takes 0.50 MiB." in page
    for words in (REASON, "Intended use", "Limits", '"format": "int4"', *export.LIMITS):
        assert words in page


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (33, 32), (70, 91)])
def test_the_steps_of_the_card_give_the_pixels_that_models_were_trained_on(
    evaluation: Path, tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    card = export.card("b", REASON, DESCRIPTION, export.measured(evaluation, "b"), META, [ROW])
    for step in ("upright", "transparent on white", "65535 is white", "ImageOps.fit", "BILINEAR"):
        assert step in card["image_preparation"]
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    drawn = Image.fromarray(values.view(np.uint16)[..., 0].copy() if mode == "I;16" else values)
    image = drawn if mode in (drawn.mode, "I;16") else drawn.convert("RGB").convert(mode)
    tags = Image.Exif()
    tags[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=tags)

    read = ImageOps.exif_transpose(Image.open(tmp_path / "photo.png"))
    if mode == "I;16":
        read = Image.fromarray((np.asarray(read).astype(np.int64) * 255 // 65535).astype(np.uint8))
    if mode == "RGBA":
        read = Image.alpha_composite(Image.new("RGBA", read.size, "white"), read)
    by_hand = np.asarray(ImageOps.fit(read.convert("RGB"), (40, 40), Image.Resampling.BILINEAR))
    content = (tmp_path / "photo.png").read_bytes()
    assert np.array_equal(by_hand, images.decode(content, 40, name="photo.png"))


def test_cells_without_a_number_are_left_out_and_a_model_without_a_row_is_refused(evaluation: Path) -> None:
    assert "mcnemar_p" not in export.measured(evaluation, "baseline")
    with pytest.raises(UserError, match=r"evaluation\.csv: has no row for c; run the evaluate stage again"):
        export.measured(evaluation, "c")
