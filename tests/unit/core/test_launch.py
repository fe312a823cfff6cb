"""Of several processes that end, the one that failed by itself is heard."""

import subprocess
import sys

import pytest

from ccd_cli.core.errors import CcdError, ProcessLost
from ccd_cli.core.launch import _Child, _explain

LOST = ProcessLost.exit_code


@pytest.fixture
def ended(tmp_path):
    """Makes processes that have ended with a code; all but the first have said that they are what they are."""

    def make(*codes):
        made = []
        for rank, code in enumerate(codes):
            said = (tmp_path / f"{rank}.txt").open("w+b") if rank else None
            script = f"import sys; print('rank {rank} says why', file=sys.stderr); sys.exit({code})"
            process = subprocess.Popen([sys.executable, "-c", script], stderr=said or subprocess.DEVNULL)
            made.append(_Child(rank, process, said))
            process.wait()
        return made

    return make


@pytest.mark.parametrize(
    ("codes", "first", "code", "said"),
    [
        ((LOST, 1), 0, 1, "Process 2 of 2: rank 1 says why"),  # the first one noticed it before the other had ended
        ((LOST, 1), 1, 1, "Process 2 of 2: rank 1 says why"),
        ((LOST, LOST, 2), 0, 2, "Process 3 of 3: rank 2 says why"),
        ((0, 1), 1, 1, "Process 2 of 2: rank 1 says why"),
        ((2, 2), 1, 2, ""),  # all of them agreed, and the first has said it
        ((1, LOST), 0, 1, ""),
        ((LOST, LOST), 0, 1, ""),
        ((143, 143), 0, 143, ""),
    ],
)
def test_the_one_that_failed_by_itself_is_heard_once(ended, capsys, codes, first, code, said):
    children = ended(*codes)
    assert _explain(children[first], children, len(codes)) == code
    assert capsys.readouterr().err.strip() == said


def test_one_that_hangs_with_the_failed_one_says_nothing(ended, capsys):
    """It was made to end: its exit code is not its own."""
    children = ended(1, 1)
    assert _explain(children[1], children[1:], 2) == 1
    assert "rank 1 says why" in capsys.readouterr().err


def test_a_process_that_the_system_killed_is_named(ended):
    children = ended(LOST, 0)
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    children[1].process = subprocess.Popen([sys.executable, "-c", script])
    children[1].process.wait()
    with pytest.raises(CcdError, match=r"Process 2 of 2 was killed \(SIGKILL\)"):
        _explain(children[0], children, 2)
