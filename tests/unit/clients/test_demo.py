"""The demo against a scripted server, and what it draws."""

import re
from contextlib import asynccontextmanager

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from phosphene import aio
from phosphene.cli import app, demo
from phosphene.cli.panels import captioned_grid
from phosphene.cli.sample_picture import sample_picture
from phosphene.pictures import decode


@pytest.fixture
def folder(service, tmp_path, monkeypatch):
    """The folder that the demo has written, with the scripted server in the place of an embedded one."""

    @asynccontextmanager
    async def launch():
        async with aio.connect(service.address) as client:
            yield client

    monkeypatch.setattr(aio, "launch", launch)
    monkeypatch.setattr(demo, "_MODEL", "tiny")
    answer = CliRunner().invoke(app, ["demo", str(tmp_path / "out")])
    assert answer.exit_code == 0, answer.output
    assert str(tmp_path / "out" / "index.html") in answer.stdout
    return tmp_path / "out"


def test_it_writes_a_page_and_its_pictures(folder):
    names = ["filters.png", "index.html", "kernel.png", "maximization.png", "maximization.webp"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_the_page_needs_nothing_but_its_pictures(folder):
    page = (folder / "index.html").read_text()
    assert "$" not in page
    assert not re.search(r"https?://", page)
    for name in re.findall(r'src="([^"]+)"', page):
        assert (folder / name).exists()


def test_the_page_tells_the_numbers_of_the_run(folder):
    page = (folder / "index.html").read_text()
    assert "242 parameters, 2 layers, 2 classes, 16 × 16 pixels" in page
    assert "Norms from 1.00 to 2.00; 1 dead" in page
    assert "2 pictures that excite one class each the most, found in 64 steps at 4 × 6 pixels" in page
    assert page.count("<polyline") == 2


def test_the_animation_shows_every_frame_and_the_end(folder):
    assert decode((folder / "maximization.webp").read_bytes()).n_frames == 4


def test_nine_classes_are_chosen_the_favourites_first():
    labels = [f"class {index}" for index in range(20)]
    assert demo._chosen([*labels, "star"]) == ("star", *labels[:8])
    assert demo._chosen(["ring"]) == ("ring",)


def test_the_sample_picture_is_always_the_same_and_has_edges_and_gradients():
    picture = sample_picture()
    assert (picture.mode, picture.size) == ("RGB", (480, 320))
    assert picture.tobytes() == sample_picture().tobytes()
    luma = np.asarray(picture.convert("L"), float)
    steps = np.abs(np.diff(luma, axis=1))
    assert (steps > 60).sum() > 500
    assert len(np.unique(luma)) > 150


def test_a_captioned_grid_holds_every_picture():
    pictures = [Image.new("RGB", (10, 5), (200, index, 0)) for index in range(3)]
    sheet = captioned_grid(pictures, ["a", "b", "c"], columns=2, side=40)
    colours = {colour for _, colour in sheet.getcolors(maxcolors=100_000)}
    assert {(200, 0, 0), (200, 1, 0), (200, 2, 0)} <= colours
