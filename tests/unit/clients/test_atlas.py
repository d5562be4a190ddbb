"""`phosphene atlas` against a scripted server, what it writes, and what it shows."""

import io
import json
import re

import numpy as np
import pytest
import typer
from fake_service import layer_progress, png
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from phosphene._wire.layers import decode_layer_progress
from phosphene.cli import app
from phosphene.cli.atlas_folder import AtlasFolder
from phosphene.cli.atlas_page import _number
from phosphene.cli.atlas_view import PictureRows, TerminalView, pace, tile_side
from phosphene.cli.numbers import number_ranges
from phosphene.cli.panels import numbered_sheet
from phosphene.client import LayerRun
from phosphene.layers import LayerPicture, LayerWarning
from phosphene.pictures import decode
from phosphene_server.pictures.sheet import compose_sheet


@pytest.fixture
def command(service, tmp_path, monkeypatch):
    """Run a command in an empty folder, with the scripted server as the one to speak with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHOSPHENE_SERVER", service.address)
    return lambda *words: CliRunner().invoke(app, ["atlas", "tiny", "conv1", *words])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "atlas-tiny-conv1"


def names(folder):
    return sorted(path.name for path in (folder / "pictures").iterdir())


def unboxed(text):
    """What is written in a box, without its border and line ends."""
    return " ".join(text.replace("│", " ").split())


def channels_of(request):
    return list(request.channels)


def interrupted(monkeypatch, *, after: int):
    """Press Ctrl-C when so many events have come."""
    events = LayerRun.events

    def some(run):
        for number, event in enumerate(events(run)):
            if number == after:
                run.cancel()
                raise KeyboardInterrupt
            yield event

    monkeypatch.setattr(LayerRun, "events", some)


def test_it_writes_every_picture_a_sheet_and_a_page(command, folder):
    answer = command("--channels", "0-3,6")
    assert answer.exit_code == 0, answer.output
    assert f"{folder.name}/index.html: 5 of 5 pictures" in answer.stdout
    assert names(folder) == ["0000.png", "0001.png", "0002.png", "0003.png", "0006.png"]
    assert decode((folder / "pictures" / "0006.png").read_bytes()).getpixel((0, 0)) == (200, 100, 6)
    assert decode((folder / "sheet.png").read_bytes()).getpixel((0, 0)) == (1, 2, 3), "the server's sheet"


def test_progress_and_warnings_are_told_without_a_terminal(command):
    answer = command("--channels", "0-3")
    assert "conv1: 2/4  90.0 pictures/min" in answer.stderr
    assert "warning: channel 0: Nothing moves." in answer.stderr


def test_the_page_needs_nothing_but_its_pictures_and_tells_the_objectives(command, folder):
    command("--channels", "0-3")
    page = (folder / "index.html").read_text()
    assert not re.search(r"https?://", page)
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) == 2 * 4 + 1
    assert all((folder / source).is_file() for source in sources)
    assert "What 4 of the 8 channels of this convolution of tiny look for" in page
    assert "between 0.5 (channel 0) and 3.5 (channel 3)" in page
    assert 'data-channel="2" data-objective="2.5"' in page
    assert '<p class="notice"></p>' in page
    assert page.count("${") == 3, "what the script fills in, and nothing that the command forgot"


def test_the_page_marks_a_picture_of_which_the_server_warned_also_when_it_was_drawn_earlier(command, folder):
    command("--channels", "0-1")
    command("--channels", "0-3")
    figures = (folder / "index.html").read_text().split("<figure ")[1:]
    assert [figure.count('<abbr title="Nothing moves.">!</abbr>') for figure in figures] == [1, 0, 1, 0]


def test_a_restarted_worker_is_no_warning_of_a_picture(tmp_path):
    place = AtlasFolder(tmp_path)
    place.note_warning(LayerWarning(1, 8, "WORKER_RESTARTED", "it goes on"))
    assert place.warnings == {}


@pytest.mark.parametrize(
    ("value", "text"), [(4203.4, "4,203"), (0.51234, "0.512"), (-12.3456, "-12.3"), (8e-14, "8e-14")]
)
def test_numbers_on_the_page_are_short(value, text):
    assert _number(value) == text


def test_all_channels_of_the_layer_are_drawn_and_a_failed_one_is_told(command, folder):
    answer = command()
    assert "index.html: 7 of 8 pictures, 1 missing: the same command goes on with them" in answer.stdout
    assert "failed: channel 5: the memory is full" in answer.stderr
    assert (
        "1 of 8 pictures are missing. 1 failed: channel 5: the memory is full." in (folder / "index.html").read_text()
    )


def test_an_interrupted_atlas_keeps_what_is_there_and_says_so(command, service, folder, monkeypatch):
    interrupted(monkeypatch, after=4)
    answer = command("--channels", "0-3")
    assert answer.exit_code == 130
    assert names(folder) == ["0002.png", "0003.png"]
    page = (folder / "index.html").read_text()
    assert "2 of 4 pictures are missing. The drawing was interrupted before 2 of them" in page
    assert page.count("<figure ") == 2
    assert (folder / "sheet.png").exists()
    assert service.maximizations.cancelled == ["layer-1"]


def test_the_same_command_goes_on_with_the_missing_channels_and_the_same_seed(command, service, folder, monkeypatch):
    with monkeypatch.context() as context:
        interrupted(context, after=4)
        command("--channels", "0-3")
    (folder / "pictures" / "0003.png").unlink()
    assert command("--channels", "0-3").exit_code == 0
    first, second = service.maximizations.requests
    assert (channels_of(first), channels_of(second), second.seed) == ([0, 1, 2, 3], [0, 1, 3], 7)
    assert names(folder) == ["0000.png", "0001.png", "0002.png", "0003.png"]
    sheet = decode((folder / "sheet.png").read_bytes())
    colours = {colour for _, colour in sheet.getcolors(maxcolors=100_000)}
    assert {(200, 100, channel) for channel in range(4)} <= colours, "a sheet of all, not of the new ones alone"
    assert '<p class="notice"></p>' in (folder / "index.html").read_text()


def test_a_connection_that_fails_keeps_what_is_there(command, service, folder):
    service.maximizations.fail_after_frames = True
    answer = command("--channels", "0-3")
    assert (answer.exit_code, answer.stderr.splitlines()[-1]) == (1, "error: the worker is gone")
    assert (folder / "index.html").read_text().count("<figure ") == 4


def test_a_folder_of_other_pictures_is_left_alone(command, folder):
    command("--channels", "0", "--steps", "64")
    before = (folder / "atlas.json").read_text()
    answer = command("--channels", "0-1", "--steps", "32")
    assert answer.exit_code == 2
    assert "steps 64, not 32" in unboxed(answer.stderr)
    assert (folder / "atlas.json").read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"settings": 3, "seed": 1, "pictures": {}}',
        '{"settings": {}, "seed": 1, "pictures": {"x": {}}}',
    ],
)
def test_a_list_that_cannot_be_read_is_told(command, folder, text):
    folder.mkdir()
    (folder / "atlas.json").write_text(text)
    answer = command()
    assert answer.exit_code == 2
    assert "cannot be read" in unboxed(answer.stderr)


def test_a_warning_of_a_picture_that_is_not_there_is_forgotten(command, folder):
    command("--channels", "0")
    known = json.loads((folder / "atlas.json").read_text())
    known["warnings"] = {"0": "gray", "5": "was interrupted"}
    (folder / "atlas.json").write_text(json.dumps(known))
    assert AtlasFolder(folder).warnings == {0: "gray"}


def test_the_list_tells_each_picture(command, folder):
    command("--channels", "1,0")
    known = json.loads((folder / "atlas.json").read_text())
    assert known["pictures"]["1"] == {"objective": 1.5, "step": 64, "stop_reason": "steps"}
    assert (known["seed"], known["settings"]["layer"]) == (7, "conv1")


def test_the_choices_reach_the_server(command, service):
    words = ("--steps", "9", "--size", "32x48", "--target", "neuron", "--no-transforms", "--priority", "2")
    words += ("--parameterization", "pixels", "--learning-rate", "0.5", "--precision", "bfloat16", "--columns", "3")
    assert command("--channels", "0", *words).exit_code == 0
    [request] = service.maximizations.requests
    assert (request.steps, request.size.height, request.target, request.priority) == (9, 32, 2, 2)
    assert request.HasField("transforms")
    assert request.parameterization.HasField("pixels")
    assert (request.optimizer.adam.learning_rate, request.precision, request.sheet.columns) == (0.5, 2, 3)


def test_ranges_of_numbers_are_read():
    assert number_ranges(" 0-3, 40,7-7,2", option="--channels") == (0, 1, 2, 3, 40, 7)
    assert number_ranges("", option="--channels") == ()
    for text in ("3-1", "a", "1-", "-1", "1-2-3", "0-99999999999"):
        with pytest.raises(typer.BadParameter):
            number_ranges(text, option="--channels")


# In the terminal


@pytest.mark.parametrize("count", [1, 24, 256, 1024])
@pytest.mark.parametrize("width", [80, 200, 20, 5])
def test_rows_fit_and_hold_every_channel_once(count, width):
    rows = PictureRows(range(count), width=width)
    texts = [text for channel in range(count) for text in rows.put(channel, None)]
    assert " ".join(map(str, texts)).split() == list(map(str, range(count)))
    assert max(len(str(text)) for text in texts) <= max(width, 8)
    assert rows.rest() == []


def test_pictures_are_as_large_as_their_number_allows():
    sides = [tile_side(count, width=120) for count in (16, 48, 4096)]
    assert sides == [24, 16, 8]


def test_a_row_is_told_when_it_is_complete_with_each_picture_in_its_place():
    rows = PictureRows([4, 2, 9], width=49)
    assert rows.put(9, None) == []
    assert rows.put(2, Image.new("RGB", (8, 4), (255, 0, 0))) == []
    first, second = rows.put(4, None)
    lines = str(first).split("\n")
    assert lines[:-1] == [" " * 25 + "▀" * 24] * 6, "twice as wide as high"
    assert lines[-1].split() == ["4", "2"]
    assert {span.style for span in first.spans} == {"#ff0000 on #ff0000", "dim"}
    assert str(second).split() == ["9"]


def test_what_is_incomplete_at_the_end_is_told_then():
    rows = PictureRows([0, 1, 2], width=24)
    rows.put(1, Image.new("RGB", (8, 8), (0, 0, 9)))
    [text] = rows.rest()
    assert str(text).split()[-1] == "1"


def terminal(**options):
    return Console(file=io.StringIO(), force_terminal=True, width=100, height=20, **options)


def show(console):
    with TerminalView(console, "conv1", [0, 1], there=4) as view:
        view.progressed(decode_layer_progress(layer_progress(0, 2, queue_position=3)))
        view.progressed(decode_layer_progress(layer_progress(1, 2)))
        view.finished(LayerPicture(0, 0, 1.0, 64, "steps", png((0, 0, 255))))
    return console.file.getvalue()


def test_the_terminal_shows_pictures_pace_and_the_time_left():
    written = show(terminal(color_system="truecolor"))
    assert "5/6 pictures, 90.0 pictures/min, 1:01 left" in written
    assert "48;2;0;0;255" in written


def test_a_terminal_without_colours_shows_no_pictures():
    written = show(terminal(no_color=True, color_system=None))
    assert "5/6 pictures" in written
    assert "▀" not in written


def test_the_place_in_the_queue_is_told():
    assert pace(decode_layer_progress(layer_progress(0, 2, queue_position=3))) == "waits, number 3 in the queue"


@pytest.mark.parametrize(("side", "shape"), [(40, (40, 40)), (128, (96, 60)), (16, (32, 32))])
def test_a_sheet_of_the_folder_looks_like_the_server_s(side, shape):
    pictures = [Image.new("RGB", shape, (200, index, 0)) for index in range(5)]
    sheet = numbered_sheet(pictures, [7, 8, 9, 10, 512], columns=2, side=side)
    tiles = [np.asarray(picture) for picture in pictures]
    labels = ["7", "8", "9", "10", "512"]
    reference = compose_sheet(tiles, labels, columns=2, tile_size=side, maximum_pixels=10**7)
    assert np.array_equal(np.asarray(sheet), reference)
