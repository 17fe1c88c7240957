"""The search of `edge tune`: what it tries, what it takes, and children that die."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge import config as configs
from edge.cli.tune import answer, machine, options, report, scenes, sources, trial
from edge.cli.tune.records import Candidate, Facts, Fault, Figures, Reply, Request, Target
from edge.cli.tune.search import Plan, Search
from edge.config import Config
from edge.errors import EdgeError, ModelError
from edge.model import engine as engines
from edge.model.engine import read_picture

FACTS = Facts("made", ("a", "b"), "none", (300, 200))
Costs = Callable[[Request], float]


def plan(config: Config | None = None, cores: int = 4, **target: float) -> Plan:
    """Return a plan of half an hour, which children that answer at once never use."""
    limits = Target(**({"latency_ms": 50.0} | target))
    config = config or Config(camera=configs.CameraConfig(width=1280, height=960))
    return Plan(config, limits, 15.0, 30.0, "moving", False, True, tuple(range(cores)))


def search(wanted: Plan, costs: Costs, noise: float = 0.02, latency_ms: float = 10.0) -> Search:
    """Return a search on a simulated machine, ended.

    costs  CPU share of a request, or below 0 for one that fails
    """
    count = 0

    def run(request: Request) -> Reply:
        nonlocal count
        count += 1
        share = costs(request) * (1 + noise * (count % 3 - 1))
        if share < 0:
            return Reply(fault=Fault("EdgeError", "ended by SIGSEGV"))
        motion = request.config.adaptive.motion and request.scene == "still"
        figures = Figures(
            p50_ms=None if motion else latency_ms / 2,
            p99_ms=None if motion else latency_ms,
            cpu_share=share,
            cpu_ms=share,
            pss_bytes=1,
            frames=150,
            dropped=0,
            skipped=140 * motion,
            others_share=0.0,
            seconds=10.0,
        )
        return Reply(figures, FACTS)

    made = Search(wanted, run, lambda: 50.0, lambda _: None)
    made.run()
    return made


def test_what_costs_least_is_chosen_one_setting_after_the_other() -> None:
    """Threads, cores and size, each on top of the one before."""

    def costs(request: Request) -> float:
        config, share = request.config, 0.2
        share -= 0.05 * (config.model.threads == 1)
        share -= 0.03 * (request.cores == (3,))
        return share - 0.02 * (config.camera.width == 320)

    found = search(plan(), costs)
    best = found.best
    assert (best.threads, best.cores, best.width, best.height) == (1, (3,), 320, 240)
    shown = answer.answer(found, plan(), [], [], complete=True)
    assert "threads = 1  # instead of 0\n" in shown.lines
    assert "# CPUAffinity=3\n" in shown.lines
    assert shown.meets is True
    assert shown.before.cpu_share == pytest.approx(0.2, rel=0.05)


def test_what_differs_by_no_more_than_noise_stays_as_configured() -> None:
    """Six percent less is nothing where repeats differ by ten; with two percent it is taken."""

    def costs(request: Request) -> float:
        return 0.1 * (0.94 if request.config.model.threads == 2 else 1)

    assert search(plan(), costs, noise=0.05).best.threads == 0
    assert search(plan(), costs, noise=0.01).best.threads == 2


def test_a_long_run_has_the_last_word() -> None:
    """Where it does not find the chosen one better, all stays as it is configured."""

    def costs(request: Request) -> float:
        return 0.1 if request.config.model.threads != 1 else 0.05 if request.seconds < 60 else 0.2

    found = search(plan(), costs)
    assert found.best == found.base
    assert any("does not confirm 1 thread" in note for note in found.notes)


def test_a_candidate_that_fails_is_a_row_and_is_not_tried_again() -> None:
    """And never chosen, although it would cost least."""
    found = search(plan(), lambda request: -1 if request.config.model.threads == 1 else 0.1)
    (row,) = (row for row in found.measurements if row.text == "1 thread")
    assert (row.runs, row.faults) == ([], ["ended by SIGSEGV"])
    assert found.best == found.base
    assert found.notes == []  # nor even for a long run


def test_without_the_config_itself_there_is_nothing_to_compare() -> None:
    """Its error is raised as the class that the child met."""
    fault = Fault("ModelError", "is not there", where="model", hint="look again")
    found = Search(plan(), lambda _: Reply(fault=fault), lambda: None, lambda _: None)
    with pytest.raises(ModelError, match="model: is not there; look again"):
        found.run()


def test_the_nearest_is_named_with_how_far_it_is() -> None:
    """Latency, CPU and temperature, each by its share; what would keep to them is advice."""
    wanted = plan(latency_ms=8.0, cpu_share=0.1, celsius=40.0)

    def costs(request: Request) -> float:
        return 0.15 if request.config.model.threads == 1 else 0.2

    found = search(wanted, costs, noise=0)
    shown = answer.answer(found, wanted, [], [], complete=True)
    assert shown.meets is False
    assert shown.chosen.threads == 1
    latency, cpu, celsius = shown.misses
    assert latency == "p99 10 ms, 25% above 8"
    assert cpu == "CPU 15 % of all cores, 50% above 10"
    assert celsius == "temperature 50 degrees Celsius, 25% above 40"
    advice = {one.key: one.value for one in shown.advice}
    assert (advice["cpu_share"], advice["max_celsius"]) == (0.1, 40.0)
    assert "# not met: p99 10 ms, 25% above 8\n" in shown.lines


def test_the_motion_gate_is_recommended_and_not_switched_on(tmp_path: Path) -> None:
    """With the saving; nowhere but in a comment. Where it saves nothing, nothing is said."""

    def costs(request: Request) -> float:
        return 0.02 if request.config.adaptive.motion and request.scene == "still" else 0.1

    shown = answer.answer(search(plan(), costs), plan(), [], [], complete=True)
    (advice,) = shown.advice
    assert (advice.table, advice.key, advice.value) == ("adaptive", "motion", True)
    assert "CPU on a still scene 2.0" in advice.reason
    (tmp_path / "lines.toml").write_text(shown.lines)
    assert configs.load(tmp_path / "lines.toml").adaptive.motion is False
    plain = answer.answer(search(plan(), lambda _: 0.1), plan(), [], [], complete=True)
    assert plain.advice == []


@pytest.mark.parametrize(("cost", "named"), [(0.08, True), (0.3, False)])
def test_a_second_model_is_recommended_where_the_target_leaves_room(
    cost: float, named: bool
) -> None:
    """Measured as if every frame asked it: the worst case."""
    wanted = plan(Config(), cpu_share=0.1)

    def costs(request: Request) -> float:
        return cost if request.config.model.second else 0.05

    facts = msgspec.structs.replace(FACTS, labels=("cat", "dog", "neither"))
    assert options.second(Config(), facts) == "catdog-large"
    assert options.second(Config(), FACTS) == ""
    rows = options.seconds(search(wanted, costs).base, "catdog-large")
    assert [(row.second, row.asked) for row in rows] == [("", "unsure"), ("catdog-large", "always")]
    assert rows[1].over(Config()).model.second_below == 1.0
    model = configs.ModelConfig(second="catdog-large")
    wanted = plan(Config(model=model), cpu_share=0.1)
    shown = answer.answer(search(wanted, costs), wanted, [], [], complete=True)
    advice = {one.key: one.value for one in shown.advice}
    assert ("second" in advice) is not named  # it is configured: advice is to do without
    assert named or advice["second"] == ""


def test_the_limits_of_a_governor_are_not_in_force_while_measuring() -> None:
    """They would lower the rate of what is measured."""
    adaptive = configs.AdaptiveConfig(cpu_share=0.1, max_celsius=70)
    base = search(plan(Config(adaptive=adaptive)), lambda _: 0.1).base
    assert not base.over(Config(adaptive=adaptive)).adaptive.governs


def test_only_candidates_that_can_help_are_tried() -> None:
    """Each number of threads once; the last cores; sizes of the same shape that the model uses."""
    base = Candidate(0, (), 1280, 960, False, "", "moving")
    four = (0, 1, 2, 3)
    assert [one.threads for one in options.threads(base, four)] == [1, 2, 3]
    assert options.affinities(base, four) == []  # all threads need all cores
    one = msgspec.structs.replace(base, threads=1)
    assert [one.cores for one in options.affinities(one, four)] == [(3,), (1, 2, 3)]
    assert options.affinities(one, (0, 1)) == []
    camera = configs.CameraConfig(width=1280, height=960)
    sizes = [(one.width, one.height) for one in options.sizes(base, camera, (300, 200))]
    assert sizes == [(320, 240), (640, 480), (800, 600), (1024, 768)]
    wide = configs.CameraConfig(width=1280, height=720)
    sizes = [(one.width, one.height) for one in options.sizes(base, wide, (300, 200))]
    assert sizes == [(640, 360), (848, 480)]


@pytest.mark.parametrize("source", ["/dev/video0", "auto", "synthetic"])
def test_made_up_pictures_are_what_a_camera_gives(source: str) -> None:
    """In its layout the model sees the golden picture; the ring of a large size is short."""
    engine = engines.start(configs.ModelConfig(threads=1))
    camera = configs.CameraConfig(source=source)
    for scene in ("still", "moving"):
        made = scenes.pictures(scene, camera, engine)
        frame = scenes.frame(made, 8, camera)
        scores = np.zeros(3, np.float32)
        assert engine.classify(frame, scores)
        assert engine.card.labels[int(scores.argmax())] == "cat"
        assert frame.format == scenes.layout(source)
        seen = engine.preprocess.picture(engine.classifier.input_view()).mean((0, 1))
        golden = read_picture(engine.folder / "golden.png")
        engine.preprocess(golden, engine.classifier.input_view())
        right = engine.preprocess.picture(engine.classifier.input_view()).mean((0, 1))
        assert np.abs(seen - right).max() < (3 if scene == "still" else 20)  # it is shifted
    assert not np.array_equal(made[0][0], made[1][0])
    large = configs.CameraConfig(source=source, width=8192, height=4096)
    assert len(scenes.pictures("moving", large, engine)) == 2


def request(seconds: float = 1.0, limit_s: float = 40.0, threads: int = 0) -> Request:
    """Return a request to a real child."""
    config = Config(model=configs.ModelConfig(threads=threads))
    return Request(config, "moving", (), 10.0, False, seconds, limit_s, os.getpid())


FAKE = """
import io, json, os, sys, time
text = sys.stdin.read()
sys.stdin = io.StringIO(text)
if json.loads(text)["config"]["model"]["threads"] == 1:
    {fault}
"""


@pytest.mark.parametrize(
    ("fault", "limit_s", "line"),
    [
        ("os.kill(os.getpid(), 11)", 40, "ended by SIGSEGV"),
        ("print('x', file=sys.stderr); os._exit(3)", 40, "ended with 3: x"),
        ("print('{\"figures\": 3}', flush=True); os._exit(0)", 40, "no reply"),
        ("time.sleep(99)", 0.3, "no reply in 0 s"),
        ("open('/dev/stdout', 'w').write('[' * 99999); os._exit(0)", 40, "no reply"),
    ],
)
def test_a_child_that_dies_is_a_fault_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, fault: str, limit_s: float, line: str
) -> None:
    """Crashed, ended, hung, or with an answer that is none; the next child is measured."""
    monkeypatch.setattr(trial, "CODE", FAKE.format(fault=fault) + trial.CODE)
    stop = trial.Stop()
    reply = trial.run(request(limit_s=limit_s, threads=1), stop)
    assert reply == Reply(fault=Fault("EdgeError", line))
    assert trial.run(request(seconds=0.5), stop).figures is not None


def test_what_fails_on_the_way_is_not_measured_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon goes on without a gate that raises; its figures would be another config's."""
    fault = "from edge.gates.motion import MotionGate; MotionGate.skip = None"
    monkeypatch.setattr(trial, "CODE", trial.CODE.replace("child.main()", f"{fault}; child.main()"))
    adaptive = configs.AdaptiveConfig(motion=True)
    asked = msgspec.structs.replace(request(), config=Config(adaptive=adaptive))
    reply = trial.run(asked, trial.Stop())
    assert reply == Reply(fault=Fault("EdgeError", "motion failed while it was measured"))


def test_a_child_without_its_parent_ends() -> None:
    """It would be in the way of everything else."""
    orphan = msgspec.structs.replace(request(seconds=30), parent=1)
    fault = trial.run(orphan, trial.Stop()).fault
    assert fault is not None
    assert fault.what.startswith("ended with 1")


def test_a_password_is_not_in_the_arguments_of_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody can read those."""
    code = "import json, sys; print(json.dumps({'fault': {'kind': '', 'what': repr(sys.argv)}}))"
    monkeypatch.setattr(trial, "CODE", code)
    camera = configs.CameraConfig(source="rtsp://me:secret@camera/")
    asked = msgspec.structs.replace(request(), config=Config(camera=camera))
    reply = trial.run(asked, trial.Stop())
    assert reply.fault is not None
    assert "python" in reply.fault.what
    assert "secret" not in reply.fault.what
    assert "secret" in json.dumps(msgspec.to_builtins(asked))


def test_a_report_replaces_only_its_own(tmp_path: Path) -> None:
    """Whole, and neither a foreign file, a link, a folder nor a pipe."""
    out = tmp_path / "out.toml"
    report.write(out, f"{answer.MARK} 1\n")
    report.write(out, f"{answer.MARK} 2\n")
    assert out.read_text() == f"{answer.MARK} 2\n"
    assert out.stat().st_mode & 0o777 == 0o644
    link, pipe, other = tmp_path / "link", tmp_path / "pipe", tmp_path / "other"
    link.symlink_to(out)
    os.mkfifo(pipe)
    other.write_text("[model]\n")
    for path in (link, pipe, other, tmp_path):
        with pytest.raises(EdgeError, match="was not written by edge tune"):
            report.write(path, answer.MARK)
    with pytest.raises(EdgeError, match="is not a folder"):
        report.check(tmp_path / "none" / "out.toml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "other", "out.toml", "pipe"]


def test_a_machine_that_is_busy_hot_or_slow_is_said(tmp_path: Path) -> None:
    """From files: load, a daemon, the firmware, the CPU governor; a quiet machine says nothing."""
    proc, sys_ = tmp_path / "proc", tmp_path / "sys"
    firmware = sys_ / "devices/platform/soc/soc:firmware"
    governor = sys_ / "devices/system/cpu/cpu0/cpufreq"
    for folder in (firmware, governor, proc / "41", proc / "42", proc / "43"):
        folder.mkdir(parents=True)
    (firmware / "get_throttled").write_text("0\n")
    (governor / "scaling_governor").write_text("performance\n")
    (proc / "loadavg").write_text("0.01 0 0 1/1 1\n")
    (proc / "41/cmdline").write_bytes(b"/usr/bin/python3\0-IB\0/usr/bin/edge\0tune\0")
    (proc / "43/cmdline").write_bytes(b"vi\0run\0edge\0")
    assert machine.warnings(proc, sys_) == []
    (firmware / "get_throttled").write_text("5\n")
    (governor / "scaling_governor").write_text("onde\x1bmand\n")
    (proc / "loadavg").write_text("99.5 0 0 1/1 1\n")
    (proc / "42/cmdline").write_bytes(b"/usr/bin/python3\0-IB\0/usr/bin/edge\0run\0--config\0x\0")
    busy, daemon, hot, slow = machine.warnings(proc, sys_)
    assert "load 99.5" in busy
    assert "process 42" in daemon
    assert hot.endswith("under_voltage, throttled")
    assert "governor is onde\\x1bmand, not performance" in slow


@pytest.mark.parametrize(
    ("source", "held", "scene", "files", "sizes"),
    [
        ("synthetic", True, "moving", False, True),
        ("auto", False, "source", False, True),
        ("auto", True, "moving", False, True),
        ("rtsp://me:secret@camera/", False, "source", False, False),
        ("rtsp://me:secret@camera/", True, "moving", False, False),
        (str(Path(__file__)), True, "source", True, False),
        ("\0", False, "source", False, True),
    ],
)
def test_frames_come_from_where_it_works(
    source: str, held: bool, scene: str, files: bool, sizes: bool
) -> None:
    """A camera only where no daemon runs; a file always; no password in a note."""
    chosen = sources.choose(configs.CameraConfig(source=source), held)
    assert (chosen.scene, chosen.files, chosen.sizes) == (scene, files, sizes)
    assert "secret" not in chosen.note
    assert ("is not opened" in chosen.note) == (source != "synthetic" and scene == "moving")


def test_nobody_listens_at_a_path_that_is_none() -> None:
    """Neither without a socket, nor at a text that is no path."""
    assert not sources.daemon_at(None)
    assert not sources.daemon_at(Path("/nowhere/at/all"))
    assert not sources.daemon_at(Path("/" + 300 * "x"))
