"""The Java API and its JNI bridge on the JVM of this machine, which checks every call (-Xcheck:jni)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import jdk
import kotlin
import pytest

from rbe_edge.format.modes import MODE_NAMES
from rbe_edge.runtime.build import library_path
from rbe_edge.runtime.conversation import Conversation
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions

pytestmark = pytest.mark.skipif(bool(jdk.missing()), reason=jdk.missing())

SEEDS = range(1, 21)
GREEDY = SamplingOptions(temperature=0.0)
QUESTIONS = ("Who are you?", "What can you do?", "Say that in one word. \U0001f600")  # those of ConversationTest.java
TESTS = {
    ".".join(path.relative_to(source / "test/java").with_suffix("").parts): path
    for source in (jdk.LIBRARY, jdk.APP)
    for path in sorted((source / "test/java").rglob("*Test.java"))
}
SECONDS = 300  # at most, for one class of tests; the slowest takes 10 on two cores


def _wild(tiny: Path, out: Path) -> None:
    """Texts of random bytes: temperature 50 draws from the tiny model's tokens almost evenly."""
    for seed in SEEDS:
        with Model.open(tiny) as model, model.session(threads=1, context=16) as session:
            options = GenerationOptions(sampling=SamplingOptions(temperature=50.0, seed=seed))
            text = "".join(session.generate("a", options))
        (out / f"wild-{seed}.txt").write_text(text, encoding="utf-8", newline="")


def _modes(path: Path, out: Path) -> None:
    with Model.open(path) as model, model.session(threads=1) as session:
        assert model.modes is not None
        for name, mode in zip(MODE_NAMES, model.modes.modes, strict=True):
            session.set_effort(Effort.of_mode(mode))
            session.rewind(0)
            text = "".join(session.generate("The engine", GenerationOptions(max_tokens=12, sampling=GREEDY)))
            (out / f"mode-{name}.txt").write_text(text, encoding="utf-8", newline="")


def _answers(demo: Path, out: Path) -> None:
    with Model.open(demo) as model, model.session(threads=1) as session:
        conversation = Conversation(session)
        for number, question in enumerate(QUESTIONS):
            answer = "".join(conversation.send(question, options=GenerationOptions(sampling=GREEDY)))
            (out / f"answer-{number}.txt").write_text(answer, encoding="utf-8", newline="")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models and texts of Fixture.java."""
    out = tmp_path_factory.mktemp("data")
    shutil.copy(jdk.REPOSITORY / "tests/golden/v1/half.rbe", out / "tiny.rbe")
    shutil.copy(jdk.REPOSITORY / "rbe_edge/demo/demo.rbe", out / "demo.rbe")
    shutil.copy(out / "tiny.rbe", out / "modèle \U0001f600.rbe")
    damaged = bytearray((out / "tiny.rbe").read_bytes())
    damaged[-100] ^= 1
    (out / "damaged.rbe").write_bytes(damaged)
    shutil.copy(jdk.REPOSITORY / "tests/golden/v3/parts.rbe", out / "modes.rbe")
    (out / "policy").write_text("saver_above = 4\n")
    _wild(out / "tiny.rbe", out)
    _modes(out / "modes.rbe", out)
    _answers(out / "demo.rbe", out)
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bridge, and the classes in main/ and test/."""
    out = tmp_path_factory.mktemp("java")
    jdk.compile_bridge(library_path(), out)
    # What runs on Android is compiled as for Java 8; the tests look into the JVM, too.
    jdk.compile_java(sorted((jdk.LIBRARY / "main/java").rglob("*.java")), out / "main", "--release", "8")
    # Of the app, what knows nothing of Android.
    app = [
        path for path in sorted((jdk.APP / "main/java").rglob("*.java")) if "import android." not in path.read_text()
    ]
    jdk.compile_java(app, out / "main", "--release", "8", "-cp", str(out / "main"))
    tests = [*TESTS.values(), *sorted((jdk.LIBRARY / "test/java").rglob("*.java"))]
    jdk.compile_java(list(dict.fromkeys(tests)), out / "test", "-cp", jdk.class_path(out / "main"))
    return out


def _run(built: Path, data: Path, name: str, *jars: Path) -> str:
    """What the JVM printed while it ran one class of tests."""
    # A heap that neither grows nor is first touched later: what grows is memory of C. The compilers keep to one thread.
    heap = ["-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC", "-Xss512k"]
    properties = [f"-Djava.library.path={built}", f"-Drbe.data={data}", "-Dsun.jnu.encoding=UTF-8"]
    command = ["java", "-Xcheck:jni", *heap, *properties, "-cp", jdk.class_path(built / "main", built / "test", *jars)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}  # how Java decodes the names of files in the properties
    run = subprocess.run(
        [*command, "org.junit.runner.JUnitCore", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        env=environment,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout
    return run.stdout


@pytest.mark.parametrize("name", sorted(TESTS))
def test_java(built: Path, data: Path, name: str) -> None:
    check(_run(built, data, name), TESTS[name])


def check(printed: str, source: Path) -> None:
    """That all tests of a source ran and passed, and that the JVM complained of nothing."""
    count = re.search(r"^OK \((\d+) tests?\)$", printed, re.MULTILINE)
    declared = source.read_text(encoding="utf-8").count("@Test")
    assert count and int(count[1]) == declared > 0
    # What -Xcheck:jni writes of a call that is wrong, of references that pile up and of exceptions that are forgotten.
    for complaint in ("WARNING in native method", "WARNING: JNI", "FATAL ERROR", "exceeds capacity"):
        assert complaint not in printed


@pytest.mark.skipif(bool(kotlin.missing()), reason=kotlin.missing())
def test_kotlin(built: Path, data: Path) -> None:
    flows = sorted((jdk.LIBRARY / "main/kotlin").rglob("*.kt"))
    kotlin.compile_kotlin(flows, built / "main", str(built / "main"))
    source = jdk.LIBRARY / "test/kotlin/rbe/edge/FlowTest.kt"
    kotlin.compile_kotlin([source], built / "test", jdk.class_path(built / "main", built / "test"))
    check(_run(built, data, "rbe.edge.FlowTest", *kotlin.jars()), source)


def test_the_bridge_has_what_java_declares() -> None:
    """A native method that is never registered fails where it is first called, which may be on a phone."""
    java = (jdk.LIBRARY / "main/java/rbe/edge/Native.java").read_text(encoding="utf-8")
    c = "".join(path.read_text(encoding="utf-8") for path in (jdk.LIBRARY / "main/c").glob("*.c"))
    declared = re.findall(r"static native [\w\[\]]+ (\w+)\(", java)
    assert sorted(declared) == sorted(re.findall(r'\{"(\w+)", "\(', c))
