"""Does a model answer the same on every machine? Runs the C program with each kernel set that it has, and on request
programs for other processors under an emulator, and compares what they write (docs/engine.md, "One answer on every
machine").

    python tools/one_answer.py smol.rbe --program build/host/native/rbe -n 1000
    python tools/one_answer.py smol.rbe -n 200 --temp 0.8 --program build/host/native/rbe
    python tools/one_answer.py smol.rbe -n 40 --program build/host/native/rbe \\
        --program "qemu-aarch64-static -L /usr/aarch64-linux-gnu build/aarch64-linux/native/rbe"

Prints for each its characters and the digest of its text. Exits with 1 where two differ.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys

PROMPT = "A small computer on a shelf, running on its battery, can"


def answers(program: list[str], arguments: argparse.Namespace) -> dict[str, bytes]:
    """What the program writes, by kernel set; sets that its processor lacks are left out."""
    command = [*program, "run", arguments.file, "-p", arguments.prompt, "-n", str(arguments.tokens), "--no-verify"]
    command += ["-t", str(arguments.threads), "-s", str(arguments.seed), "--temp", str(arguments.temp)]
    found = {}
    for kernels in arguments.kernels:
        done = subprocess.run([*command, "--kernels", kernels], capture_output=True)
        if done.returncode == 0:
            found[kernels] = done.stdout
        elif b"kernel set" not in done.stderr:
            sys.exit(done.stderr.decode(errors="replace"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--program", action="append", required=True, help="a command that runs the program `rbe` in C")
    parser.add_argument("-p", "--prompt", default=PROMPT)
    parser.add_argument("-n", "--tokens", type=int, default=1000)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-s", "--seed", type=int, default=1)
    parser.add_argument("--temp", type=float, default=0.0)
    sets = "scalar avx2 avx2_vnni avx512 avx512_vbmi avx512_amx neon neon_crc neon_dotprod neon_i8mm"
    parser.add_argument("--kernels", nargs="+", default=sets.split(), help=f"({sets})")
    arguments = parser.parse_args()
    texts = []
    for program in arguments.program:
        for kernels, text in answers(program.split(), arguments).items():
            digest = hashlib.sha256(text).hexdigest()[:16]
            size = len(text.decode(errors="replace"))
            print(f"{program.split()[0]:24} {kernels:14} {size:7} characters  {digest}", flush=True)
            texts.append(text)
    same = len(set(texts)) == 1
    print(f"{len(texts)} texts, " + ("all the same" if same else "not the same"))
    return 0 if same and texts else 1


if __name__ == "__main__":
    sys.exit(main())
