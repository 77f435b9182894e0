"""The command's start: what it waits for, and Ctrl-C while it does."""

import signal
import subprocess
import sys
import time

import pytest

from cellgate.cli import app


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["predict", "--nope"], *([v, "-h"] for v in app.VERBS)]
)
def test_help_and_mistakes_wait_for_no_pytorch(arguments, environment):
    code = (
        "import sys\nfrom cellgate.cli.start import main\n"
        f"sys.argv[1:] = {arguments}\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'jinja2', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.rstrip().endswith("[]"), done.stdout


def test_the_package_runs_as_the_command_does(environment):
    done = subprocess.run(
        [sys.executable, "-m", "cellgate", "predict", "nowhere"], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nowhere: expected a model folder, found none")


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.4, 0.7])
def test_ctrl_c_while_it_starts_is_a_line(after, environment):
    code = "import sys\nprint(flush=True)\nfrom cellgate.cli.start import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"try:\n {code.replace(chr(10), chr(10) + ' ')}\nexcept KeyboardInterrupt: sys.exit(77)",
         "predict", "nowhere"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "\n"
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 2:  # it was faster than the signal
        assert "expected a model folder" in err
    elif process.returncode != 77:  # before start.py itself
        assert (process.returncode, err) == (130, "stopped by Ctrl-C\n")


def test_ctrl_c_while_pytorch_starts_is_not_raised_into_it(environment):
    """Raised where its C++ calls Python, KeyboardInterrupt ended the process with SIGABRT, now and then."""
    code = (
        "import signal, sys, types\n"
        "from cellgate.cli import app, start\n"
        "def load():\n"
        "    sys.modules['torch'] = torch = types.ModuleType('torch')\n"
        "    torch.__spec__ = types.SimpleNamespace(_initializing=True)\n"
        "    try: signal.raise_signal(signal.SIGINT)\n"
        "    except KeyboardInterrupt: sys.exit(77)\n"
        "app.main = load\n"
        "start.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped by Ctrl-C\n")
