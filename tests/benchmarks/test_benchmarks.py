"""The measuring programs: their pure parts, and each of them from end to end on a tiny film."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import reference
from tests.helpers.synth import PEOPLE, QUICK, TinyBackbone, title_of
from vcn_ray.config import RunConfig
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import ConfigError
from vcn_ray.learn.checkpoint import Checkpoint, pack
from vcn_ray.learn.training import EpochRecord
from vcn_ray.records import TrackOutputs

FOLDER = str(Path(__file__).resolve().parents[2] / "benchmarks")
sys.path.insert(0, FOLDER)  # the programs import one another as neighbours

from adapting import adapt_film, crop_outputs  # noqa: E402 - they are no package
from films import Film, keep_tracks, load_film, make_film, shrink, thin_crops  # noqa: E402
from floor import Passes, count_passes, floor_seconds  # noqa: E402
from growth import parts  # noqa: E402
from linking import LETTER, MATCHES, MERGES, Rule, link  # noqa: E402
from robustness import with_people  # noqa: E402
from running import Bench, peak_resident, resident  # noqa: E402
from scoring import Report, score_pairs, wrongly_placed  # noqa: E402
from season import split  # noqa: E402
from settings_table import (  # noqa: E402
    FROM_ONE,
    GROUPS,
    NO_CONSTANTS,
    UNUSED,
    Constant,
    changed,
    find_constants,
    fixed_numbers,
    get,
)
from tables import (  # noqa: E402
    augmented_limits,
    cosine,
    euclidean,
    held_out_limits,
    learned_loss,
    plain_limits,
    sides,
)

NO_PAIRS = np.zeros((0, 2), np.int64)


def film_of(people=PEOPLE, crops=4) -> Film:
    people = np.asarray(people)
    title = replace(title_of(people, crops), cannot_link=np.array([[0, 1], [1, 2]]))
    return Film("made", title, people, np.arange(len(people)) // 2)


def bench_of(cache: Path | None = None) -> Bench:
    return Bench(TinyBackbone(), "tiny", seed=0, cache=cache, quick=True)


def numbers(values: dict, inside: str) -> set[str]:
    found = set()
    for name, value in values.items():
        if isinstance(value, dict):
            found |= numbers(value, f"{inside}{name}.")
        elif not isinstance(value, bool | str):
            found.add(f"{inside}{name}")
    return found


def test_every_number_of_the_method_is_varied():
    config = RunConfig()
    there = numbers(asdict(config.finetune), "finetune.")
    there |= numbers(asdict(config.quality), "quality.")
    there |= numbers(asdict(config.cluster), "cluster.")
    constants = find_constants(config)
    names = [constant.name for constant in constants]
    assert len(names) == len(set(names))
    assert set(names) | set(NO_CONSTANTS) == there
    assert {constant.group for constant in constants} == set(GROUPS.values())
    for name in (*FROM_ONE, *NO_CONSTANTS, *(other for other, _ in UNUSED.values())):
        get(config, name)
    assert any(name.endswith("EACH_WAY") for name in fixed_numbers())


def test_what_is_done_to_a_constant():
    momentum = Constant("finetune.teacher_momentum", 0.996, "train", from_one=True)
    assert [value for _, value in momentum.variants()] == [0.998, 0.992]
    assert [value for _, value in Constant("n", 5, "cut", False).variants()] == [3, 10]
    assert [value for _, value in Constant("x", -2.5, "cut", False).variants()] == [-1.25, -5.0]


def test_a_changed_constant_is_in_the_settings_or_refused():
    config, refused = RunConfig(), set()
    for constant in find_constants(config):
        for _, value in constant.variants():
            try:
                assert get(changed(config, constant.name, value), constant.name) == value
            except ConfigError:
                refused.add((constant.name, value))
    assert ("finetune.teacher_temperature", 0.14) in refused
    assert len(refused) < 10


def test_precision_and_recall_of_matches():
    truth = np.array([5, 5, 5, 7, 7])
    pairs = np.array([[0, 1], [1, 0], [3, 2], [4, 3]])  # the second is the first again
    assert score_pairs(pairs, truth) == (2 / 3, 2 / 4)
    assert score_pairs(NO_PAIRS, truth) == (None, 0.0)
    assert score_pairs(pairs[:1], np.arange(5)) == (0.0, None)


def test_which_tracks_are_placed_wrongly():
    truth, label = np.array([1, 1, 2, 2, 3]), np.array([0, 0, 0, 1, -1])
    assert wrongly_placed(truth, label).tolist() == [False, False, True, False, False]


def test_means_are_over_films_and_leave_out_what_is_missing(capsys):
    report = Report({"film": "", "way": "", "x": ".2f", "note": ""})
    for film, x in (("a", 1), ("b", 4)):
        report.add({"film": film, "way": "w", "x": x, "note": "n"})
        report.add({"film": film, "way": "v"})
    report.add_means("film", ["way"])
    assert report.rows[-2] == {"film": "mean", "way": "w", "x": 2.5, "note": None}
    assert "| mean | w | 2.50 | - |" in capsys.readouterr().out
    with pytest.raises(KeyError):
        report.add({"no such column": 1})


def made_outputs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, m, f) views of crops of few people, and the track of each."""
    rng = np.random.default_rng(seed)
    track = np.repeat(np.arange(9), rng.integers(2, 5, 9))
    people = rng.normal(size=(4, 8))[rng.integers(0, 4, 9)]
    rows = people[track] + rng.normal(size=(len(track), 8)) * (0.3, 0.6, 0.9)[seed % 3]
    return np.stack(
        [unit_rows(rows + rng.normal(size=rows.shape) * s) for s in (0, 0.1, 0.1)]
    ), track


@pytest.mark.parametrize("seed", range(6))
def test_the_letter_is_the_reference(seed):
    views, track = made_outputs(seed)
    centre = views[0].mean(axis=0) / 2
    loss = learned_loss(centre, 0.07, 0.1)
    limits = plain_limits(loss, views, track)
    found = link(sides(loss, views[0], track), limits, NO_PAIRS, LETTER)
    crops = [views[0][track == j] for j in range(9)]
    assert found.tolist() == reference.close(crops, centre, 0.07, 0.1).tolist()


def test_no_rule_puts_together_what_cannot_link():
    views, track = made_outputs(5)
    table, limits = sides(cosine, views[0], track), augmented_limits(cosine, views, track)
    free = link(table, limits, NO_PAIRS, LETTER)
    pairs = np.array([[i, k] for i in range(9) for k in range(i) if free[i] == free[k]])[:3]
    assert len(pairs)
    for match in MATCHES:
        for merge in MERGES:
            label = link(table, limits, pairs, Rule(match, merge))
            assert (label[pairs[:, 0]] != label[pairs[:, 1]]).all()


def test_thresholds_are_means_over_distinct_crops():
    views, track = made_outputs(0)
    first = np.flatnonzero(track == 0)
    pairs = [(i, k) for i in first for k in first if i != k]
    one = np.eye(9)[:1]

    def mean(values):
        return pytest.approx(np.mean(list(values)))

    plain = plain_limits(euclidean, views, track).of(one)[0]
    assert plain == mean(np.linalg.norm(views[0][i] - views[0][k]) for i, k in pairs)
    shown = augmented_limits(cosine, views, track).of(one)[0]
    both = [(1, 2), (2, 1)]
    assert shown == mean(1 - views[a][i] @ views[b][k] for i, k in pairs for a, b in both)
    held = held_out_limits(euclidean, views, track, first[-2:])
    far = np.linalg.norm(views[0][first[-2]] - views[0][first[-1]])
    assert held.of(one)[0] == pytest.approx(far)
    # tracks without a held-out crop fall back to all of theirs
    assert held.of(np.eye(9))[1:] == pytest.approx(
        plain_limits(euclidean, views, track).of(np.eye(9))[1:]
    )


def test_parts_of_a_film():
    film = film_of()
    some = keep_tracks(film, np.array([1, 2, 5]), "some")
    assert some.truth.tolist() == [1, 2, 2]
    assert some.title.cannot_link.tolist() == [[0, 1]]
    assert np.bincount(some.title.track).tolist() == [4, 4, 4]
    assert np.bincount(thin_crops(film, 3).title.track).tolist() == [3] * 8
    small = shrink(film, 4).title.crops
    assert small.shape == film.title.crops.shape
    assert small.std() < film.title.crops.std()
    assert [part for part, _ in parts(film, [3, 6, 8], [2, 4], 0)] == [
        "3 tracks",
        "6 tracks",
        "2 crops a track",
        "whole",
    ]
    assert [tracks.tolist() for tracks in split(film, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert with_people(film, "2", 0).truth.tolist() == [0, 1, 0, 1, 0, 1]
    assert sorted(with_people(film, "9-once", 0).truth) == [0, 1, 2]


@pytest.mark.parametrize("part", ["tail", "all"])
def test_what_is_read_back_has_the_same_bits(part, tmp_path):
    film, config = film_of(), replace(QUICK, encoder=part, epochs=1, outputs=16)
    fresh = adapt_film(film, bench_of(), config)
    bench = bench_of(tmp_path)
    adapt_film(film, bench, config)  # writes views and model
    read = adapt_film(film, bench, config)
    again = adapt_film(film, bench, config, seed=bench.seed + 1)  # trains on the views as read
    other = adapt_film(film, bench_of(), config, seed=1)
    for left, right in ((fresh, read), (other, again)):
        for field in fields(TrackOutputs):
            values = [getattr(f.adapted.outputs, field.name) for f in (left, right)]
            assert np.array_equal(*values), field.name
        assert left.adapted.tensors.keys() == right.adapted.tensors.keys()
        same = (
            torch.equal(left.adapted.tensors[name], right.adapted.tensors[name])
            for name in left.adapted.tensors
        )
        assert all(same)
    assert read.adapted.warnings == fresh.adapted.warnings
    assert list(map(len, read.adapted.matches)) == list(map(len, fresh.adapted.matches))
    crops = crop_outputs(film, bench, config, read.adapted)
    means = np.stack([crops.outputs[0][film.title.track == t].mean(axis=0) for t in range(8)])
    np.testing.assert_allclose(means, read.adapted.outputs.output, atol=1e-5)


def test_passes_are_counted_from_settings_and_epochs():
    film, bench = film_of(), bench_of()
    epoch = EpochRecord(0, 1, "encoder", *[0.0] * 4)
    config = replace(QUICK, encoder_crops=3, augmented_views=2, quality_passes=8)
    frozen = count_passes(film.title, config, (), kept=4)
    assert frozen == Passes(trunk=128, tail=128, project=256, train_tail=0, train_all=0)
    tail = count_passes(film.title, config, (epoch, epoch), kept=4)
    assert tail == Passes(trunk=128, tail=128 + 96 + 96, project=256, train_tail=96, train_all=0)
    some = count_passes(film.title, config, (epoch, epoch), kept=1)
    assert some == tail._replace(trunk=128 + 72 + 64)
    whole = count_passes(film.title, replace(config, encoder="all"), (epoch,), kept=0)
    assert whole == Passes(128 + 48 + 96, 128 + 48 + 96, 256, 0, 48)
    assert floor_seconds(tail, bench, config) > 0


def test_what_counts_of_the_work_of_several_workers():
    from overhead import Span, steady_pace  # Ray takes seconds to import

    # One starts late, and the other ends early: what counts lasts from 6 to 10.
    one = [Span(1, start, start + 2, cpu_seconds=3) for start in (0, 2, 4, 6, 8)]
    two = [Span(2, start, start + 3, cpu_seconds=3) for start in (3, 6, 9)]
    pace = steady_pace([*one, *two], workers=2)
    assert pace == (4, 2 + 1 + 1 / 3, pytest.approx(10))
    assert steady_pace(one, workers=1) == (8, 4, 12)
    for spans, workers in ((one, 2), ([one[0], two[0]], 2), (one[:1], 1)):
        with pytest.raises(SystemExit, match="too few"):
            steady_pace(spans, workers)


def test_the_epochs_of_a_checkpoint_are_read_from_outside(tmp_path):
    from chaos import epochs_kept

    assert epochs_kept(tmp_path) is None
    epochs = [EpochRecord(number, 0, "head", *[0.0] * 4) for number in range(3)]
    kept = Checkpoint(epochs, [], {}, torch.get_rng_state(), {})
    path = tmp_path / "titles/film/adapted-1/checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(pack(kept, "of a title"))
    assert epochs_kept(tmp_path) == 3


COMMANDS = {
    "film_tracks": "--profile default --floor",
    "robustness": "--seeds 2 --people 1 2 3-once",
    "ablation": "--size 20",
    "rules": "--held-out",
    "constants": "--only cluster.cut.view_factor --only finetune.augment.shift "
    "--only finetune.teacher_temperature --only quality.min_score",
    "quality": "--cut -1",
    "growth": "--tracks 6 --crops 2",
    "season": "--episodes 2",
}


def test_the_installed_autoscaler_takes_the_cluster_of_autoscale():
    from autoscale import Machines  # Ray takes seconds to import
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    config = Machines(nodes=3, cpus=2, idle_seconds=15).config("192.0.2.1:7")
    taken = AutoscalingConfig(config, skip_content_hash=True)
    worker = taken.get_node_type_configs()["worker"]
    assert (worker.min_worker_nodes, worker.max_worker_nodes) == (0, 3)
    assert worker.resources["CPU"] == 2
    assert taken.get_idle_timeout_s() == 15
    assert taken.get_provider_config()["gcs_address"] == "192.0.2.1:7"


@pytest.fixture(scope="module")
def tiny(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of four people, three crops a track."""
    path = tmp_path_factory.mktemp("bench") / "tiny.npz"
    make_film(shared, path, seed=3, cast=4, tracks=8)
    film, data = load_film(path), dict(np.load(path))
    kept = np.concatenate(
        [np.flatnonzero(film.title.track == t)[:3] for t in range(len(film.truth))]
    )
    np.savez(path, **(data | {name: data[name][kept] for name in ("crops", "track", "frame")}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("program", COMMANDS)
def test_the_program_prints_its_table(program, tiny, yunet_pack, capsys):
    rows = tiny.with_name(f"{program}.json")
    words = [str(tiny), str(tiny), "--pack", str(yunet_pack), "--quick", "--device", "cpu"]
    words += ["--json", str(rows), "--cache", str(tiny.with_name("cache"))]
    importlib.import_module(program).main(words + COMMANDS[program].split())
    written = json.loads(rows.read_text())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(written) + 2
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    scores = [row["NMI"] for row in written if row["NMI"] is not None]
    assert scores
    assert all(0 <= score <= 1 for score in scores)


def test_detectors_are_compared(shared, capsys, monkeypatch):
    import detectors  # insightface takes seconds to import

    monkeypatch.setattr(detectors, "BATCHES", (1, 3))
    yunet = shared / "models" / "yunet" / "yunet_n_dynamic.onnx"
    scrfd = shared / "models" / "scrfd_500m" / "det_500m.onnx"
    detectors.main([str(yunet), str(scrfd), "--repeats", "1", "--pixels", "192"])
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.startswith("| yunet_n_dynamic |") for row in rows) == len(detectors.BATCHES)
    assert sum(row.startswith("| det_500m |") for row in rows) == len(detectors.BATCHES)
    assert [row.split()[1] for row in rows[-3:]] == ["1", "6", "48"]


def test_the_peak_of_memory_stays_when_memory_is_given_back():
    before = peak_resident()
    ballast = np.ones(2**25 + int(before - resident()) * 2**17)  # 256 MiB over any peak so far
    peak = peak_resident()
    assert peak >= before + 200
    del ballast
    assert peak_resident() > peak - 1  # the kernel counts roughly
    assert resident() < peak - 200


@pytest.mark.slow
def test_packs_are_compared(shared, yunet_pack, tmp_path, capsys):
    import packs

    for number in range(2):
        person = shared / "data" / "faces" / f"id{number:03d}"
        (tmp_path / "faces" / person.name).mkdir(parents=True)
        for path in sorted(person.iterdir())[:6]:
            shutil.copy(path, tmp_path / "faces" / person.name)
    words = ["--packs", str(yunet_pack.parent), "--faces", str(tmp_path / "faces")]
    words += ["--json", str(tmp_path / "rows.json"), "--pack", yunet_pack.name]
    packs.main(words)
    nothing, row = json.loads((tmp_path / "rows.json").read_text())
    assert nothing["pack"] == "nothing"
    assert nothing["peak MiB"] < row["peak MiB"]
    assert (row["pictures"], row["recall"], row["licence"]) == (12, 1, "Apache-2.0")
    assert row["TAR at FAR 1e-2"] is None  # 36 pairs are too few
    assert min(row["frames/CPU s"], row["faces/CPU s"]) > 0
    assert len(capsys.readouterr().out.splitlines()) == 4
