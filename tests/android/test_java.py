"""The Java API and its JNI bridge on the JVM of this machine, which checks every call (-Xcheck:jni)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import jdk
import pytest

from rbe_edge.runtime.build import library_path
from rbe_edge.runtime.conversation import Conversation
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions

pytestmark = pytest.mark.skipif(bool(jdk.missing()), reason=jdk.missing())

SEEDS = range(1, 21)
QUESTIONS = ("Who are you?", "What can you do?", "Say that in one word. \U0001f600")  # those of ConversationTest.java
SECONDS = 300  # at most, for one class of tests; the slowest takes 10 on two cores


def _wild(tiny: Path, out: Path) -> None:
    """Texts of random bytes: temperature 50 draws from the tiny model's tokens almost evenly."""
    for seed in SEEDS:
        with Model.open(tiny) as model, model.session(threads=1, context=16) as session:
            options = GenerationOptions(sampling=SamplingOptions(temperature=50.0, seed=seed))
            text = "".join(session.generate("a", options))
        (out / f"wild-{seed}.txt").write_text(text, encoding="utf-8", newline="")


def _answers(demo: Path, out: Path) -> None:
    with Model.open(demo) as model, model.session(threads=1) as session:
        conversation = Conversation(session)
        for number, question in enumerate(QUESTIONS):
            answer = "".join(conversation.send(question))
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
    _wild(out / "tiny.rbe", out)
    _answers(out / "demo.rbe", out)
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bridge, and the classes in main/ and test/."""
    out = tmp_path_factory.mktemp("java")
    jdk.compile_bridge(library_path(), out)
    # What runs on Android is compiled as for Java 8; the tests look into the JVM, too.
    jdk.compile_java(sorted((jdk.LIBRARY / "main/java").rglob("*.java")), out / "main", "--release", "8")
    tests = sorted((jdk.LIBRARY / "test/java").rglob("*.java"))
    jdk.compile_java(tests, out / "test", "-cp", jdk.class_path(out / "main"))
    return out


def _run(built: Path, data: Path, name: str) -> str:
    """What the JVM printed while it ran one class of tests."""
    # A heap that neither grows nor is first touched later: what grows is memory of C. The compilers keep to one thread.
    heap = ["-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC", "-Xss512k"]
    properties = [f"-Djava.library.path={built}", f"-Drbe.data={data}", "-Dsun.jnu.encoding=UTF-8"]
    command = ["java", "-Xcheck:jni", *heap, *properties, "-cp", jdk.class_path(built / "main", built / "test")]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}  # how Java decodes the names of files in the properties
    run = subprocess.run(
        [*command, "org.junit.runner.JUnitCore", f"rbe.edge.{name}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        env=environment,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout
    return run.stdout


TESTS = sorted(path.stem for path in (jdk.LIBRARY / "test/java/rbe/edge").glob("*Test.java"))


@pytest.mark.parametrize("name", TESTS)
def test_java(built: Path, data: Path, name: str) -> None:
    printed = _run(built, data, name)
    count = re.search(r"^OK \((\d+) tests?\)$", printed, re.MULTILINE)
    declared = (jdk.LIBRARY / f"test/java/rbe/edge/{name}.java").read_text(encoding="utf-8").count("@Test")
    assert count and int(count[1]) == declared > 0
    # What -Xcheck:jni writes of a call that is wrong, of references that pile up and of exceptions that are forgotten.
    for complaint in ("WARNING in native method", "WARNING: JNI", "FATAL ERROR", "exceeds capacity"):
        assert complaint not in printed


def test_the_bridge_has_what_java_declares() -> None:
    """A native method that is never registered fails where it is first called, which may be on a phone."""
    java = (jdk.LIBRARY / "main/java/rbe/edge/Native.java").read_text(encoding="utf-8")
    c = "".join(path.read_text(encoding="utf-8") for path in (jdk.LIBRARY / "main/c").glob("*.c"))
    declared = re.findall(r"static native [\w\[\]]+ (\w+)\(", java)
    assert sorted(declared) == sorted(re.findall(r'\{"(\w+)", "\(', c))
