"""The strict notebook runner: papermill, minus everything that it lets pass in silence.

papermill only warns of an unknown parameter and of a missing parameters cell, runs wherever the
caller happens to be, trusts the kernel name that the notebook recorded, and leaves a broken file
under the final name. Here each of these is an error or is impossible.
"""

import ast
import difflib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from reidlab.common import paths
from reidlab.common.errors import StudyError
from reidlab.common.files import replacing
from reidlab.common.lifeline import anchor, end_with_study
from reidlab.recipe.study import DEFAULTS, TRAINING, Study, load

log = logging.getLogger(__name__)

PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def parameters_of(source: Path) -> dict[str, Any]:
    """A notebook's parameters with their defaults.

    Args:
        source: the notebook.

    Raises:
        StudyError: no readable notebook; not exactly one cell tagged ``parameters``; or a
            statement in it that is not ``name = literal``.
    """
    try:
        notebook = json.loads(source.read_text(encoding="utf-8"))  # nbformat takes its time
    except (OSError, ValueError):
        notebook = _read(source)  # which says what is wrong
    return _parameters(notebook, source)


def source_notebook(name: str) -> Path:
    """A notebook in its source form."""
    return paths.NOTEBOOKS / f"{name}.ipynb"


def check_notebooks(study: Study) -> None:
    """Hold a study against its notebooks.

    Raises:
        StudyError: a notebook that does not exist, is refused, lacks a parameter that the study
            sets, or has one of another type.
    """
    for name, planned in study.notebooks.items():
        try:
            known = parameters_of(source_notebook(name))
        except StudyError as error:
            raise StudyError(f"{planned.where}: {error}") from error
        for parameter, value in study.parameters(name).items():
            if parameter not in known:
                raise StudyError(
                    f"{planned.where}: {name}.ipynb has no parameter {parameter!r}. It has: "
                    f"{', '.join(known)}."
                )
            default = known[parameter]
            numbers = isinstance(value, int | float) and isinstance(default, int | float)
            same = type(value) is type(default) or (
                numbers and bool not in map(type, (value, default))
            )
            if default is not None and not same:
                raise StudyError(
                    f"{planned.where}: {name}.ipynb, {parameter} = {value!r}: expected "
                    f"{type(default).__name__}, as its default {default!r}."
                )


def planned(notebook: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a study sets for a notebook: with another ``profile`` alone one reads its results.

    Args:
        notebook: its name.
        given: the parameters as they stand in the notebook, the profile among them. One that is
            not the source notebook's default was chosen by somebody, and stays.

    Returns:
        The values of the others; none where the study does not execute this notebook.

    Raises:
        StudyError: no such study, or it has no such run.
    """
    study, usual = load(given["profile"]), load(DEFAULTS).parameters(notebook)
    if notebook not in study.notebooks:
        return {}
    chosen = given.get("run") if notebook == TRAINING else None
    values = study.parameters(notebook, None if chosen == usual.get("run") else chosen)
    return {name: value for name, value in values.items() if given[name] == usual[name]}


def run_notebook(
    source: Path,
    output: Path,
    parameters: dict[str, Any] | None = None,
    timeout: float | None = None,
    pictures: bool = True,
    stream: TextIO | None = None,
) -> Path:
    """Execute a notebook from its first cell to its last.

    The kernel is this interpreter, whatever the notebook recorded; its working directory is the
    notebook's folder, as in JupyterLab and nbval. ``output`` appears only when every cell has
    run. A failure leaves ``<output's name>.failed.ipynb`` beside it, to be opened and read.

    Args:
        source: the notebook to execute; left as it is (unless ``output`` is the same file).
        output: where the executed notebook goes.
        parameters: values in place of the defaults of the notebook's parameters cell.
        timeout: seconds that one cell may take; None for no bound.
        pictures: False leaves every picture out of ``output`` that is not known to be a chart or
            to show generated people, so that no photograph can be published with it.
        stream: where the notebook's progress (log lines) is shown live; default this process's
            standard error.

    Returns:
        ``output``.

    Raises:
        StudyError: a notebook that :func:`parameters_of` refuses; a parameter that it does not
            have; a cell that failed, named with its exception.
    """
    source, output, parameters = Path(source).resolve(), Path(output).resolve(), parameters or {}
    notebook = _read(source)
    _check_names(source, parameters, _parameters(notebook, source))
    notebook.metadata["kernelspec"] = dict(KERNELSPEC)
    output.parent.mkdir(parents=True, exist_ok=True)
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    with tempfile.TemporaryDirectory(prefix="reidlab-") as folder:
        scratch = Path(folder)
        try:
            _execute(notebook, source, scratch, parameters, timeout, stream or sys.stderr)
        except Exception as error:
            if getattr(error, "ename", "") == "KeyboardInterrupt":
                raise KeyboardInterrupt from error  # somebody has stopped it: no cell has failed
            executed = _read(scratch / "executed.ipynb")
            message = _explain(error, source, executed)
            executed.metadata["reidlab"] = {"error": message}
            _write(executed, failed)
            raise StudyError(f"{message}\n  The notebook as far as it came: {failed}") from error
        executed = _without_traces(_read(scratch / "executed.ipynb"))
        _write(executed if pictures else without_pictures(executed), output)
    failed.unlink(missing_ok=True)
    return output


def _read(source: Path) -> Any:
    import nbformat

    if not source.is_file():
        there = sorted(path.name for path in source.parent.glob("*.ipynb"))
        raise StudyError(
            f"There is no notebook {source}. In its folder: {', '.join(there) or 'none'}."
        )
    try:
        return nbformat.read(source, as_version=4)
    except (ValueError, KeyError, AttributeError) as error:
        raise StudyError(
            f"{source} is not a notebook that can be read ({error}). Restore it from git."
        ) from error


def _parameters(notebook: Any, source: Path) -> dict[str, Any]:
    """Names and defaults of the one parameters cell; literals only, so nothing is derived."""
    tagged = [cell for cell in notebook["cells"] if PARAMETERS_TAG in _tags(cell)]
    if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
        raise StudyError(
            f"{source.name} has {len(tagged)} cells tagged {PARAMETERS_TAG!r}; expected exactly "
            "one code cell. In JupyterLab: the property inspector (two gears), Cell Tags."
        )
    defaults = {}
    for statement in _statements("".join(tagged[0]["source"]), source):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        try:
            if len(targets) != 1 or not isinstance(targets[0], ast.Name):
                raise ValueError
            defaults[targets[0].id] = ast.literal_eval(statement.value)
        except ValueError:
            raise StudyError(
                f"{source.name}, parameters cell, line {statement.lineno}: "
                f"{ast.unparse(statement)!r} is not of the form name = literal. A value computed "
                "from other parameters would keep its old value; compute it in the next cell."
            ) from None
    return defaults


def _statements(text: str, source: Path) -> Iterator[ast.Assign | ast.AnnAssign]:
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise StudyError(f"{source.name}, parameters cell: {error}") from error
    for statement in body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            raise StudyError(
                f"{source.name}, parameters cell, line {statement.lineno}: found "
                f"{ast.unparse(statement)!r}; only name = literal belongs there."
            )
        yield statement


def _check_names(source: Path, given: dict[str, Any], known: dict[str, Any]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise StudyError(
                f"{source.name} has no parameter {name!r}.{hint} "
                f"It has: {', '.join(known) or 'none'}."
            )


def _execute(
    notebook: Any,
    source: Path,
    scratch: Path,
    parameters: dict[str, Any],
    timeout: float | None,
    stream: TextIO,
) -> None:
    """Run the notebook into ``scratch/executed.ipynb``, which papermill saves cell by cell."""
    import nbformat
    import papermill

    prepared = scratch / "prepared.ipynb"
    nbformat.write(notebook, prepared)
    shutil.copyfile(prepared, scratch / "executed.ipynb")  # in case the kernel never starts
    with _batch_environment(), _socket_folder(scratch) as sockets:
        papermill.execute_notebook(
            prepared,
            scratch / "executed.ipynb",
            parameters=parameters,
            kernel_name=KERNELSPEC["name"],
            cwd=source.parent,
            progress_bar=False,
            execution_timeout=timeout,
            kernel_manager_class=_kernel_manager_class(sockets),
            stderr_file=_Prefixed(stream, source.stem),
        )


#: Bytes that the path of a socket may have; a kernel's ends in a name such as kernel-12.
LONGEST_SOCKET = 107 - len("/kernel-12")


@contextmanager
def _socket_folder(scratch: Path) -> Iterator[Path]:
    """A folder for sockets: a short one, where that of temporary files is deep."""
    if len(os.fsencode(scratch)) <= LONGEST_SOCKET:
        yield scratch
        return
    with tempfile.TemporaryDirectory(prefix="reidlab-", dir="/tmp") as short:
        yield Path(short)


def _kernel_manager_class(sockets_in: Path) -> type:
    """A kernel manager that starts this interpreter, whatever kernelspecs are installed.

    Outside Windows it talks over sockets in a folder: TCP ports are chosen first and bound
    later, so of many notebooks started at once some die with "Address already in use".
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    setup = "__import__('reidlab.study.notebooks').study.notebooks.join_batch()"
    spec = KernelSpec(
        argv=[
            *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            f"--IPKernelApp.exec_lines={setup}",
        ],
        **{key: KERNELSPEC[key] for key in ("display_name", "language")},
    )

    sockets = {"transport": "ipc", "ip": str(sockets_in / "kernel")} if os.name == "posix" else {}

    class ThisInterpreter(AsyncKernelManager):
        def __init__(self, **settings: Any):
            super().__init__(**sockets, **settings)

        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return ThisInterpreter


def join_batch() -> None:
    """Called in the kernel of a batch execution, which ends with its runner.

    The package's log goes to standard error, which is progress: the runner shows it live and
    keeps it out of the saved notebook.
    """
    end_with_study()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    package = logging.getLogger("reidlab")
    package.handlers = [handler]
    package.setLevel(logging.INFO)
    package.propagate = False


@contextmanager
def _batch_environment() -> Iterator[None]:
    """The kernel's environment: this package, no progress bars (:mod:`common.progress`)."""
    package = [str(paths.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    new = {"REIDLAB_BATCH": "1", "PYTHONPATH": os.pathsep.join(package), **anchor()}
    for name in ("REIDLAB_CACHE", "REIDLAB_DATA", "REIDLAB_RESULTS"):
        if folder := paths.from_env(name):  # the kernel runs in another folder
            new[name] = str(folder)
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


class _Prefixed:
    """A stream that starts every line with the name of the notebook it comes from."""

    def __init__(self, stream: TextIO, name: str):
        self.stream, self.prefix, self.pending = stream, f"[{name}] ", ""

    def write(self, text: str) -> None:
        *lines, self.pending = (self.pending + text.replace("\r", "\n")).split("\n")
        self.stream.writelines(f"{self.prefix}{line}\n" for line in lines if line.strip())

    def flush(self) -> None:
        self.stream.flush()


def failures(folder: Path) -> dict[Path, str]:
    """The failed notebooks below a folder, with what went wrong."""
    return {
        file: _read(file).metadata.get("reidlab", {}).get("error", "")
        for file in sorted(folder.rglob("*.failed.ipynb"))
    }


def _explain(error: Exception, source: Path, executed: Any) -> str:
    """Name notebook, cell and exception; the cell is counted as in the source notebook."""
    added = {"papermill-error-cell-tag", INJECTED_TAG}
    cells = [cell for cell in executed.cells if not _tags(cell) & added]
    started = [
        index
        for index, cell in enumerate(cells, 1)
        if cell.metadata.get("papermill", {}).get("start_time")
    ]
    where = f"cell {started[-1]} of {len(cells)}" if started else "before its first cell"
    if hasattr(error, "ename"):
        what = f"{error.ename}: {error.evalue}"
    else:
        what = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return f"{source.name} failed in {where}: {what}"


def _tags(cell: Any) -> set[str]:
    return set(cell.get("metadata", {}).get("tags", []))


def _without_traces(notebook: Any) -> Any:
    """Take out what differs from one execution to the next: times, paths, widgets, progress."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for number, cell in enumerate(notebook.cells, 1):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if INJECTED_TAG in _tags(cell):
            cell["id"] = f"injected-{number}"  # papermill draws a random one
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
    return notebook


def _is_progress(output: Any) -> bool:
    is_widget = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return is_widget or (output.output_type == "stream" and output.name == "stderr")


def without_pictures(notebook: Any) -> Any:
    """Leave a line of text where a picture was, but for charts and generated people.

    The house's figures do that by themselves; this is for those that a cell draws with pyplot.
    """
    from reidlab.plots.style import CHART, GENERATED  # matplotlib takes its time

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data, about = output.get("data", {}), output.get("metadata", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                if about.get(kind) in (CHART, GENERATED):
                    continue
                del data[kind]
                data["text/plain"] = "(picture left out: made from research data)"
    return notebook


def _write(notebook: Any, output: Path) -> None:
    import nbformat

    with replacing(output) as scratch:
        nbformat.write(notebook, scratch)
