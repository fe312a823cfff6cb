"""Importing ccd changes nothing in the program that imports it, and `import ccd_cli` is light."""

import json
import subprocess
import sys

import pytest

STATE = """
import json, os, pkgutil, signal, sys, threading, warnings, importlib

def state():
    import PIL.Image, cv2, numpy, torch
    mask = os.umask(0o022); os.umask(mask)
    return {
        "pillow": [PIL.Image.MAX_IMAGE_PIXELS, __import__("PIL.ImageFile").ImageFile.LOAD_TRUNCATED_IMAGES],
        "umask": mask,
        "warnings": [repr(each) for each in warnings.filters],
        "signals": {int(s): repr(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)},
        "environment": dict(os.environ),
        "torch": [torch.get_num_threads(), torch.is_grad_enabled(), torch.backends.cudnn.benchmark, torch.initial_seed()],
        "default type": str(torch.get_default_dtype()),
        "cv2": cv2.getNumThreads(),
        "numpy": [numpy.geterr(), numpy.get_printoptions()],
        "locale": __import__("locale").setlocale(0),
        "working folder": os.getcwd(),
        "threads": threading.active_count(),
        "recursion": sys.getrecursionlimit(),
        "hooks": [sys.excepthook is sys.__excepthook__],
    }

def modules():
    import ccd_cli
    names = [m.name for m in pkgutil.walk_packages(ccd_cli.__path__, "ccd_cli.")]
    assert len(names) > 150, len(names)
    return names
"""
THIRD_PARTIES = """
import timm, torchvision, matplotlib.pyplot, safetensors.torch, pydantic, click, rich, av, scipy.ndimage, h5py
import tensorboard.summary.writer.event_file_writer
import contextlib
with contextlib.suppress(ImportError):
    import mlflow, mlflow.tracking
with contextlib.suppress(ImportError):
    import wandb
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", STATE + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_every_module_leaves_the_process_as_it_was():
    """What other packages do when they are imported is not ours: they are imported before."""
    before, after = run(f"""
{THIRD_PARTIES}
names = modules()
before = state()
for name in names:
    importlib.import_module(name)
print(json.dumps([before, state()], default=str))
""")
    assert after == before


def test_importing_every_module_chooses_no_matplotlib_backend():
    chosen, later = run("""
import matplotlib
chosen = dict.__getitem__(matplotlib.rcParams, "backend")  # asking for it in the usual way would choose one
for name in modules():
    importlib.import_module(name)
print(json.dumps([str(chosen), str(dict.__getitem__(matplotlib.rcParams, "backend"))]))
""")
    assert later == chosen


@pytest.mark.parametrize("name", ["torch", "numpy", "PIL", "click", "matplotlib"])
def test_import_ccd_is_light(name):
    assert not run(f"import ccd_cli; print(json.dumps('{name}' in sys.modules))")
