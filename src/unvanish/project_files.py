"""Tells whose a source file is: the project's that is being watched, or a library's. Never imports torch.

A library's file is never edited, and never given as the user's line."""

from __future__ import annotations

import json
import re
import site
import sysconfig
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import final
from urllib.parse import unquote, urlparse

_PACKAGE = Path(__file__).resolve().parent
_EXAMPLES = _PACKAGE / "examples"  # shipped inside the package, but run as a user's script
_INSTALLED = frozenset({"site-packages", "dist-packages", "__pypackages__"})  # folders into which installers put packages
_OF_OTHERS = ("pyvenv.cfg", "conda-meta", ".git")  # what lies at the top of an environment, or of a repository
_METADATA = ("pyproject.toml", "setup.cfg", "setup.py")  # of a distribution, at the top of its source
_INTERACTIVE = ("<ipython-input", "<python-input")  # names of what a person has typed
_NOTEBOOK_CELL = "ipykernel_"  # cells are compiled under names in a temporary folder of this name

# Distributions that are nobody's own project, also where they are run from a checkout of their source.
FRAMEWORKS = frozenset(
    {
        *("torch", "torchvision", "torchaudio", "torchtext", "torchdata", "torchtune", "torchrl", "tensordict", "triton"),
        *("transformers", "accelerate", "datasets", "diffusers", "peft", "trl", "sentence-transformers", "huggingface-hub", "timm"),
        *("lightning", "pytorch-lightning", "lightning-fabric", "torchmetrics", "deepspeed", "fairscale", "megatron-core"),
        *("keras", "tensorflow", "jax", "flax", "skorch", "scikit-learn", "fastai", "fastcore", "pytorch-ignite", "catalyst"),
        *("mosaicml", "torch-geometric", "dgl", "monai", "mmengine", "mmcv", "mmdet", "detectron2", "ultralytics"),
        *("stable-baselines3", "sb3-contrib", "tianshou", "ray", "gymnasium", "hydra-core", "omegaconf", "gpytorch"),
        *("botorch", "pyro-ppl", "xformers", "flash-attn", "fairseq", "espnet", "speechbrain", "allennlp", "colossalai"),
    }
)


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """The source files of a project: those below its folders, without libraries, environments and projects of others in them.

    Arguments:
        folders: real paths. Without any, every file is taken for the project's that is not plainly a library's.
    """

    folders: tuple[Path, ...] = ()

    def includes(self, file: str) -> bool:
        """Whether a file is the project's. The answer is kept, since it is asked for every module that is built.

        Example:
            >>> import json
            >>> ProjectFiles((Path("/home/u/project"),)).includes("/home/u/project/nets/deep.py")
            True
            >>> ProjectFiles((Path("/home/u/project"),)).includes("/home/u/project/env/lib/python3.12/site-packages/skorch/net.py")
            False
            >>> ProjectFiles().includes(json.__file__)
            False
        """
        return _includes(self.folders, file)


def find_project(script: Path | None, module: str | None, cwd: Path) -> ProjectFiles:
    """The project of a script, given by its file or by a module's name, that is run from the folder `cwd`.

    It has that folder and the one in which the script lies, or the nearest one around it which is marked as a project's: by
    pyproject.toml, setup.py or git. For a program that an installer made, such as `bin/train`, the latter is the source that its
    package is installed from, where it is.
    """
    start: Path | None = None
    if script is not None:
        is_program = _is_installed_program(cwd / script)
        start = _program_source(script.name) if is_program else (cwd / script).resolve().parent
    elif module is not None:
        start = _module_folder(module, cwd)
    folders = [cwd.resolve(), *([_project_top(start.resolve())] if start is not None else [])]
    narrow = [folder for folder in folders if folder != folder.parent]  # everything lies below the root
    return ProjectFiles(tuple(dict.fromkeys(narrow or folders)))


@final
class _Declaration:
    """Owner of the one project that this process runs."""

    def __init__(self) -> None:
        self.project = ProjectFiles()


_DECLARATION = _Declaration()


def current_project() -> ProjectFiles:
    """The project that this process has been told it runs; one without folders where it has not."""
    return _DECLARATION.project


@contextmanager
def running_project(project: ProjectFiles) -> Generator[None]:
    """A context in which `current_project`, in every thread, is this one."""
    earlier, _DECLARATION.project = _DECLARATION.project, project
    try:
        yield
    finally:
        _DECLARATION.project = earlier


@cache
def is_core_library(file: str) -> bool:
    """Whether a file is torch's, this package's or of Python's own library, or no file at all: what every program runs on."""
    path = Path(file).resolve()
    python, *others = _library_folders()
    is_pythons = path.is_relative_to(python) and _INSTALLED.isdisjoint(path.parts)
    return file.startswith("<") or is_pythons or any(map(path.is_relative_to, others))


# Whose a file is


@cache
def _includes(folders: tuple[Path, ...], file: str) -> bool:
    if file.startswith("<"):
        return file.startswith(_INTERACTIVE)
    path = Path(file).resolve()
    if path.is_relative_to(_EXAMPLES):
        return True
    if any(map(path.is_relative_to, _library_folders())) or not _INSTALLED.isdisjoint(path.parts):
        return False
    around = [folder for folder in folders if path.is_relative_to(folder)]
    if folders and not around:
        return _NOTEBOOK_CELL in file
    top = max(around, key=lambda folder: len(folder.parts), default=None)
    inner = [folder for folder in path.parents if folder.is_relative_to(top) and folder != top] if top is not None else []
    if any(map(_is_of_others, inner)) or _is_unpacked_package(path, top) or _is_in_archive(path) or _is_framework(path):
        return False
    return top is not None or not _is_installed_from_source(path)


@cache
def _library_folders() -> tuple[Path, ...]:
    """The folders of Python's library, of torch and of this package."""
    torch = find_spec("torch")
    paths = [Path(sysconfig.get_path("stdlib")), _PACKAGE]
    paths += [Path(torch.origin).parent] if torch is not None and torch.origin else []
    return tuple(path.resolve() for path in paths)


@cache
def _is_of_others(folder: Path) -> bool:
    """Whether a folder inside of a project is an environment, a repository of its own, or hidden, as a cache is."""
    return folder.name.startswith(".") or any((folder / mark).exists() for mark in _OF_OTHERS)


def _is_unpacked_package(path: Path, top: Path | None) -> bool:
    """Whether an installer has put the file there, as `pip install --target` does: metadata around it list it."""
    around = [folder for folder in path.parents if top is None or folder.is_relative_to(top)]
    return any(path.relative_to(folder).parts[0] in _installed_names(folder) for folder in around)


@cache
def _installed_names(folder: Path) -> frozenset[str]:
    """The files and folders in a folder that belong to distributions whose metadata lie there."""
    names: set[str] = set()
    for record in folder.glob("*.dist-info/RECORD"):
        with suppress(OSError):
            names.update(line.partition("/")[0].partition(",")[0] for line in record.read_text(encoding="utf-8").splitlines())
    return frozenset(names)


def _is_in_archive(path: Path) -> bool:
    """Whether the file lies in an archive, as modules imported from a zip file do."""
    return any(folder.is_file() for folder in path.parents)


def _is_framework(path: Path) -> bool:
    """Whether a file belongs to a framework's package in a checkout of its source; the scripts beside that are people's own."""
    is_in_package = (path.parent / "__init__.py").is_file()
    return is_in_package and not FRAMEWORKS.isdisjoint(_declared_names(_project_top(path.parent)))


@cache
def _declared_names(folder: Path) -> frozenset[str]:
    """The names of the distributions that a folder says it is the source of, normalised."""
    names: list[str] = []
    for file in _METADATA:
        with suppress(OSError):
            text = (folder / file).read_text(encoding="utf-8", errors="replace")
            names += re.findall(r"^[ \t]*name\s*=\s*[\"']?([\w.-]+)", text, re.MULTILINE)
    return frozenset(re.sub(r"[-_.]+", "-", name).lower() for name in names)


@cache
def _project_top(folder: Path) -> Path:
    """The nearest folder around, or the folder itself, that is marked as a project's; the folder where there is none.

    The home folder is none, though some people keep it in git, and no environment around is searched.
    """
    for place in (folder, *folder.parents[:-1]):
        if place == Path.home().resolve():
            break
        if any((place / mark).exists() for mark in (*_METADATA, ".git")):
            return place
        if _is_of_others(place):
            break
    return folder


# Installed programs and packages


def _is_installed_program(path: Path) -> bool:
    folders = (Path(sysconfig.get_path("scripts")), Path(site.getuserbase()) / "bin")
    return path.parent.resolve() in [folder.resolve() for folder in folders]


def _program_source(name: str) -> Path | None:
    """The folder of the source from which the package of an installed program is installed; None where it is not."""
    found = (point.dist for point in entry_points(group="console_scripts", name=name) if point.dist is not None)
    return next((folder for folder in map(_source_folder, found) if folder is not None), None)


def _source_folder(dist: Distribution) -> Path | None:
    """The folder from which a distribution is installed so that changes act at once ("editable"); None for any other."""
    try:
        origin = json.loads(dist.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    is_editable = origin.get("dir_info", {}).get("editable")
    return Path(unquote(urlparse(origin.get("url", "")).path)).resolve() if is_editable else None


@cache
def _installed_sources() -> frozenset[Path]:
    return frozenset(folder for folder in map(_source_folder, distributions()) if folder is not None)


def _is_installed_from_source(path: Path) -> bool:
    """Whether a file belongs to a package that is installed from its source, other than one that is being worked on here."""
    return any(path.is_relative_to(folder) and not Path.cwd().is_relative_to(folder) for folder in _installed_sources())


def find_top_level_spec(name: str, cwd: Path) -> ModuleSpec | None:
    """Where a module that lies in no package, or a package, is for `python -m` in the folder `cwd`; None where there is none.

    Nothing is imported.
    """
    with suppress(ImportError, ValueError):  # of a module in memory that came from nowhere
        return PathFinder.find_spec(name, [str(cwd)]) or find_spec(name)
    return None


def _module_folder(name: str, cwd: Path) -> Path | None:
    """The folder of the top-level package of a module, or of the module; None where there is none. Nothing is imported."""
    spec = find_top_level_spec(name.partition(".")[0], cwd)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ()) or ([str(Path(spec.origin).parent)] if spec.origin else [])
    folder = Path(places[0]) if places else None
    return folder if folder is not None and _includes((), str(folder / "__init__.py")) else None
